"""Recordings made of nothing: small, valid WAV and MP3 files that sound like two people murmuring.

WAV is PCM, 8 kHz, mono, 16 bit. The MP3 is MPEG-1 Layer III, 32 kbit/s, 48 kHz, mono, so every frame is
exactly 96 bytes: header, side information, and a few Huffman bits that switch single spectral lines on.
The format is open (§3.6: mp3 seen today, wav in 2017); clients must look at the content.
"""

from __future__ import annotations

import array
import io
import math
import wave
from functools import lru_cache
from typing import Literal

AudioFormat = Literal["mp3", "wav"]

WAV_RATE = 8000
MP3_RATE = 48000
MP3_FRAME = 96
MP3_SAMPLES = 1152
MP3_HEADER = bytes((0xFF, 0xFB, 0x14, 0xC0))  # MPEG-1, Layer III, no CRC; 32 kbit/s, 48 kHz; mono
MEDIA_TYPES: dict[AudioFormat, str] = {"mp3": "audio/mpeg", "wav": "audio/x-wav"}

# The two speakers take turns of this length; a syllable and the gap after it last SYLLABLE seconds.
TURN = 1.2
SYLLABLE = 0.24


@lru_cache(maxsize=64)
def recording(kind: AudioFormat, seconds: float) -> bytes:
    """A recording of `seconds`; the same arguments always give the same bytes."""
    return wav(seconds) if kind == "wav" else mp3(seconds)


def wav(seconds: float) -> bytes:
    """A RIFF file with a tone of three harmonics, cut into syllables."""
    samples = array.array("h")
    for n in range(int(seconds * WAV_RATE)):
        at = n / WAV_RATE
        loud, pitch = _voice(at)
        angle = 2 * math.pi * pitch * at
        tone = math.sin(angle) + 0.5 * math.sin(2 * angle) + 0.25 * math.sin(5 * angle)
        samples.append(int(6000 * loud * tone))
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(WAV_RATE)
        file.writeframes(samples.tobytes())
    return out.getvalue()


def mp3(seconds: float) -> bytes:
    """An ID3v2.3 tag with a title, then frames."""
    frames = max(1, math.ceil(seconds * MP3_RATE / MP3_SAMPLES))
    return _id3("Sandbox call") + b"".join(_frame(index) for index in range(frames))


def _voice(at: float) -> tuple[float, float]:
    """Loudness 0..1 and pitch in Hz at a moment: turns, syllables, a pause between turns."""
    turn, into_turn = divmod(at, TURN)
    into_syllable = (into_turn % SYLLABLE) / SYLLABLE
    if into_turn > TURN - 0.25 or into_syllable > 0.8:
        return 0.0, 140.0
    pitch = 130.0 if int(turn) % 2 == 0 else 210.0
    return math.sin(math.pi * into_syllable / 0.8), pitch + 20 * math.sin(3 * at)


def _id3(title: str) -> bytes:
    text = b"\x00" + title.encode("latin-1")
    frame = b"TIT2" + len(text).to_bytes(4, "big") + b"\x00\x00" + text
    size = len(frame)
    # The tag's size is "synchsafe": seven bits to a byte.
    return b"ID3\x03\x00\x00" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0)) + frame


def _frame(index: int) -> bytes:
    """One frame: two granules of 576 lines, each with its own loudness and lines."""
    side, data = _Bits(), _Bits()
    side.put(0, 9)  # main_data_begin: no reservoir, every frame stands alone
    side.put(0, 5)  # private bits
    side.put(0, 4)  # scfsi
    for granule in range(2):
        loud, pitch = _voice((index * 2 + granule) * (MP3_SAMPLES / 2) / MP3_RATE)
        before = data.length
        pairs = _spectrum(data, pitch, (index * 2 + granule) % 2 == 0) if loud > 0 else 0
        side.put(data.length - before, 12)  # part2_3_length
        side.put(pairs, 9)  # big_values
        side.put(188 + round(8 * loud) if pairs else 0, 8)  # global_gain: 210 would be full scale
        side.put(0, 4)  # scalefac_compress: no scale factors
        side.put(0, 1)  # window_switching_flag
        for _ in range(3):
            side.put(1, 5)  # Huffman table 1 in every region
        side.put(7, 4)  # region0_count
        side.put(7, 3)  # region1_count
        side.put(0, 3)  # preflag, scalefac_scale, count1table_select
    return (MP3_HEADER + side.bytes(17) + data.bytes(MP3_FRAME - 4 - 17))[:MP3_FRAME]


def _spectrum(data: _Bits, pitch: float, positive: bool) -> int:
    """Writes the lines of a voice as value pairs of table 1 and returns how many pairs."""
    width = MP3_RATE / 2 / 576
    lines = {round(pitch * harmonic / width) for harmonic in (1, 2, 3, 5, 8)}
    pairs = max(lines) // 2 + 1
    sign = 0 if positive else 1
    for pair in range(pairs):
        first, second = 2 * pair in lines, 2 * pair + 1 in lines
        # Table 1: (0,0) = 1, (0,1) = 001, (1,0) = 01, (1,1) = 000; a sign bit follows every one.
        if first and second:
            data.put(0b000, 3)
            data.put(sign, 1)
            data.put(sign, 1)
        elif first:
            data.put(0b01, 2)
            data.put(sign, 1)
        elif second:
            data.put(0b001, 3)
            data.put(sign, 1)
        else:
            data.put(1, 1)
    return pairs


class _Bits:
    """Bits, written from the highest on."""

    def __init__(self) -> None:
        self._value = 0
        self.length = 0

    def put(self, value: int, width: int) -> None:
        self._value = (self._value << width) | value
        self.length += width

    def bytes(self, size: int) -> bytes:
        """The bits so far, filled up with zeros to `size` bytes."""
        return (self._value << (size * 8 - self.length)).to_bytes(size, "big")
