"""Recordings: which links are followed, when the key is said, what is believed to be audio."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitrix_app.clock import VirtualClock
from bitrix_app.core.errors import AnswerLost, Forbidden, NotSent, Refused, Trouble, Unavailable
from bitrix_app.core.ports import HttpResponse
from tests.unitalk.fakes import FakeHttp, Scripted, json_answer
from unitalk.recordings import MAX_BYTES, MAX_SECONDS, Fetched, check_link, fetch, media_of

pytestmark = pytest.mark.anyio
HOSTS = ("unitalk.cloud", "*.unitalk.cloud", "cstat.nextel.com.ua")
LINK = "https://api.unitalk.cloud:8443/tracking/rec/1770710412.101/2026-02-10"
KEY = "AbCd1234EfGh"
MP3 = b"ID3\x03\x00" + b"\x00" * 900
FRAME = b"\xff\xfb\x14\xc0" + b"\x00" * 400
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + b"\x00" * 40
INVALID = json_answer({"status": "Error", "message": "Authorization invalid"})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def audio(body: bytes = MP3, **headers: str) -> HttpResponse:
    return HttpResponse(200, {"content-length": str(len(body))} | headers, body)


class Desk:
    def __init__(self, folder: Path, *answers: Scripted) -> None:
        self.http = FakeHttp(*answers)
        self.target = folder / "call-1.audio"

    async def fetch(self, link: str = LINK, key: str = KEY, allow_loopback: bool = False) -> Fetched:
        return await fetch(
            self.http, VirtualClock(start=1000.0), link, self.target,
            hosts=HOSTS, key=key, allow_loopback=allow_loopback,
        )  # fmt: skip

    def left(self) -> list[str]:
        return sorted(x.name for x in self.target.parent.iterdir())


@pytest.mark.parametrize(("body", "media"), [(MP3, "mp3"), (FRAME, "mp3"), (WAV, "wav")])
async def test_audio_is_brought_without_saying_the_key(tmp_path: Path, body: bytes, media: str) -> None:
    desk = Desk(tmp_path, audio(body))
    fetched = await desk.fetch()
    assert (fetched.size, fetched.media) == (len(body), media)
    assert desk.target.read_bytes() == body
    assert desk.left() == ["call-1.audio"]
    (asked,) = desk.http.asked
    assert (asked.method, asked.url) == ("GET", LINK)
    assert "authorization" not in {x.lower() for x in asked.headers}
    assert desk.http.limits == (MAX_BYTES, MAX_SECONDS) == (200 * 2**20, 600)


@pytest.mark.parametrize("first", [HttpResponse(401, {}, b""), HttpResponse(403, {}, b"<html>"), INVALID])
async def test_the_key_is_said_once_in_the_header_when_asked_for(tmp_path: Path, first: HttpResponse) -> None:
    desk = Desk(tmp_path, first, audio())
    fetched = await desk.fetch()
    assert (fetched.media, fetched.with_key) == ("mp3", True)
    assert [x.headers.get("Authorization") for x in desk.http.asked] == [None, KEY]
    assert [x.url for x in desk.http.asked] == [LINK, LINK]

    desk = Desk(tmp_path, first, first)
    desk.target.unlink(missing_ok=True)
    with pytest.raises(Forbidden):
        await desk.fetch()
    assert len(desk.http.asked) == 2
    assert desk.left() == []

    desk = Desk(tmp_path, first)
    with pytest.raises(Forbidden):
        await desk.fetch(key="")


@pytest.mark.parametrize(
    ("answer", "branch"),
    [
        (HttpResponse(404, {}, b"no"), Unavailable),
        (HttpResponse(500, {}, b"<html>"), Unavailable),
        (HttpResponse(302, {"location": "http://169.254.169.254/"}, b""), Unavailable),
        (HttpResponse(206, {}, MP3), Unavailable),
        (audio(b"{not json"), Unavailable),
        (json_answer({"status": "Success", "message": "Authorization invalid"}), Unavailable),
        (audio(b"<html>being prepared</html>"), Unavailable),
        (json_answer({"status": "Error", "message": "Internal error"}), Unavailable),
        (json_answer(["Authorization invalid"]), Unavailable),
        (audio(b""), Unavailable),
        (audio(b"RIFF\x24\x00\x00\x00AVI LIST"), Unavailable),
        (audio(b"\xff\xfe<\x00h\x00"), Unavailable),
        (HttpResponse(200, {"content-length": "5000"}, MP3), Unavailable),
        (Unavailable("cut"), Unavailable),
        (AnswerLost("lost"), Unavailable),
        (NotSent("no"), NotSent),
        (Refused("an inner address"), Refused),
    ],
)
async def test_anything_else_leaves_nothing_behind(
    tmp_path: Path, answer: Scripted, branch: type[Trouble]
) -> None:
    desk = Desk(tmp_path, answer)
    with pytest.raises(branch) as trouble:
        await desk.fetch()
    assert type(trouble.value) is branch
    assert desk.left() == []
    assert len(desk.http.asked) == 1
    assert "rec/" not in str(trouble.value)
    assert "unitalk.cloud" not in str(trouble.value)


async def test_an_older_whole_file_survives_a_failed_fetch(tmp_path: Path) -> None:
    desk = Desk(tmp_path, HttpResponse(404, {}, b""))
    desk.target.write_bytes(WAV)
    with pytest.raises(Unavailable):
        await desk.fetch()
    assert desk.target.read_bytes() == WAV


@pytest.mark.parametrize(("said", "at"), [("120", 1120.0), ("999999", 4600.0), ("soon", None), ("-1", None)])
async def test_the_servers_wish_is_heard(tmp_path: Path, said: str, at: float | None) -> None:
    desk = Desk(tmp_path, HttpResponse(503, {"retry-after": said}, b""))
    with pytest.raises(Unavailable) as late:
        await desk.fetch()
    assert late.value.retry_at == at


@pytest.mark.parametrize(
    "link",
    [
        LINK,
        "https://unitalk.cloud/x",
        "https://UNITALK.cloud:443/x",
        "https://cstat.nextel.com.ua:8443/tracking/history/record/1.2/2026-02-10",
    ],
)
def test_links_that_are_followed(link: str) -> None:
    check_link(link, HOSTS, allow_loopback=False)


@pytest.mark.parametrize(
    "link",
    [
        "http://api.unitalk.cloud/secret",
        "https://api.unitalk.cloud:8080/secret",
        "https://api.unitalk.cloud:22/secret",
        "https://nextel.com.ua/secret",
        "https://unitalk.cloud.evil.example/secret",
        "https://evilunitalk.cloud/secret",
        "https://evil.example/secret?unitalk.cloud",
        "https://api.unitalk.cloud@evil.example/secret",
        "https://user:secret@api.unitalk.cloud/",
        "https://evil.example\\@api.unitalk.cloud/secret",
        "https://127.0.0.1/secret",
        "https://localhost:8443/secret",
        "http://127.0.0.1:8000/secret",
        "https://[::ffff:10.0.0.1]/secret",
        "https://169.254.169.254/secret",
        "file:///secret",
        "secret",
        "",
    ],
)
async def test_links_that_are_not_are_refused_before_anything_is_asked(tmp_path: Path, link: str) -> None:
    desk = Desk(tmp_path, audio())
    with pytest.raises(Refused) as refused:
        await desk.fetch(link)
    assert desk.http.asked == []
    assert "secret" not in str(refused.value)


async def test_loopback_needs_the_setting(tmp_path: Path) -> None:
    for link in ("http://127.0.0.1:9000/r", "http://localhost:9000/r", "https://[::1]:9/r"):
        assert (await Desk(tmp_path, audio()).fetch(link, allow_loopback=True)).media == "mp3"
    for link in ("http://10.0.0.1/r", "http://api.unitalk.cloud/r", "http://127.0.0.1.nip.io/r"):
        with pytest.raises(Refused):
            await Desk(tmp_path, audio()).fetch(link, allow_loopback=True)


@pytest.mark.parametrize(
    ("head", "media"),
    [
        (b"ID3\x04", "mp3"),
        (b"\xff\xfb\x90\x00", "mp3"),
        (b"\xff\xfa\x90\x00", "mp3"),
        (b"\xff\xf3\x40\x00", "mp3"),
        (b"\xff\xf2\x40\x00", "mp3"),
        (b"\xff\xe3\x40\x00", "mp3"),
        (b"RIFF....WAVEfmt ", "wav"),
        (b"RIFF....WEBP", None),
        (b"\xff\xfe<\x00", None),
        (b"\xff\xff\xff\xff", None),
        (b"\xff\xf1\x50\x80", None),
        (b"\xff\xfb\xf0\x00", None),
        (b"\xff\xfb\x9c\x00", None),
        (b"\xff\xfb", None),
        (b"OggS", None),
        (b"<!DOCTYPE html>", None),
        (b"", None),
    ],
)
def test_first_bytes(head: bytes, media: str | None) -> None:
    assert media_of(head) == media
