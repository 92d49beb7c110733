"""The made recordings decode: WAV by the standard library, MP3 by a walk through frames down to the bits."""

from __future__ import annotations

import array
import io
import wave

import pytest

from unitalk.sandbox.audio import mp3, recording, wav

BITRATES = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
RATES = (44100, 48000, 32000)
# Huffman table 1 of ISO 11172-3: code -> pair
TABLE_1 = {"1": (0, 0), "001": (0, 1), "01": (1, 0), "000": (1, 1)}


class Bits:
    def __init__(self, data: bytes) -> None:
        self._text = "".join(f"{byte:08b}" for byte in data)
        self.at = 0

    def take(self, width: int) -> int:
        value = int(self._text[self.at : self.at + width] or "0", 2)
        self.at += width
        return value

    def pair(self) -> tuple[int, int]:
        code = ""
        while code not in TABLE_1:
            code += self._text[self.at]
            self.at += 1
        first, second = TABLE_1[code]
        self.at += first + second  # the signs
        return first, second


def frames(data: bytes) -> list[bytes]:
    """Every frame after the ID3 tag; fails on a byte that belongs to none."""
    assert data[:3] == b"ID3"
    size = 0
    for byte in data[6:10]:
        assert byte < 0x80
        size = size << 7 | byte
    at, found = 10 + size, []
    while at < len(data):
        header = int.from_bytes(data[at : at + 4], "big")
        assert header >> 21 == 0x7FF, f"no sync at {at}"
        assert header >> 19 & 3 == 3  # MPEG-1
        assert header >> 17 & 3 == 1  # Layer III
        assert header >> 6 & 3 == 3  # mono
        length = 144 * BITRATES[header >> 12 & 15] * 1000 // RATES[header >> 10 & 3] + (header >> 9 & 1)
        found.append(data[at : at + length])
        assert len(found[-1]) == length, "last frame is cut"
        at += length
    return found


def lines_of(frame: bytes) -> list[int]:
    """How many spectral lines sound in each granule; checks that the bits add up."""
    side = Bits(frame[4:21])
    assert side.take(9) == 0  # no bit reservoir
    side.take(9)
    data = Bits(frame[21:])
    sounding = []
    for _ in range(2):
        length, pairs, gain = side.take(12), side.take(9), side.take(8)
        assert pairs <= 288
        assert gain <= 210
        assert side.take(5) == 0  # no scale factors, no window switching
        assert [side.take(5) for _ in range(3)] == [1, 1, 1]
        side.take(10)
        start = data.at
        sounding.append(sum(sum(data.pair()) for _ in range(pairs)))
        assert data.at - start == length
    assert side.at == 17 * 8
    assert data.at <= len(frame[21:]) * 8
    return sounding


@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_mp3(seconds: float) -> None:
    found = frames(mp3(seconds))
    assert len(found) * 1152 / 48000 == pytest.approx(seconds, abs=0.03)
    sounding = [count for frame in found for count in lines_of(frame)]
    assert max(sounding) >= 4  # a voice
    assert 0.2 < sounding.count(0) / len(sounding) < 0.7  # and pauses


def test_wav() -> None:
    with wave.open(io.BytesIO(wav(2.0))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 8000)
        assert file.getnframes() == 16000
        samples = array.array("h", file.readframes(16000))
    assert 5000 < max(samples) < 32767
    assert samples.count(0) > 2000


def test_same_arguments_same_bytes() -> None:
    assert recording("mp3", 3.0) == recording("mp3", 3.0) == mp3(3.0)
    assert recording("wav", 1.0) == wav(1.0)
    assert mp3(1.0) != mp3(2.0)
