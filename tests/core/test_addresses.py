"""Which addresses are nobody's public server, and how a URL is read (reliability.md §4.2)."""

from __future__ import annotations

import pytest

from bitrix_app.core.addresses import Url, forbidden, host_matches, is_loopback_host, read_url

REFUSED = [
    "0.0.0.0",  # noqa: S104  # nothing is bound here
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.0.0.53",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::2",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:a9fe:a9fe",
    "::ffff:0:127.0.0.1",
    "::127.0.0.1",
    "::7f00:1",
    "::8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "2002:808:808::",
    "3ffe::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff::1",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "4000::1",
    "8000::1",
    "2606:4700::1%eth0",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "169.255.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "192.167.255.255",
    "192.169.0.1",
    "198.17.255.255",
    "198.20.0.1",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2001:200::1",
    "2606:4700:4700::1111",
    "2a00:1450::1",
    "2003::1",
]
NOT_NUMERIC = ["", "localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "1.1.1.1/32", "1.1.1.1 "]


def test_the_table_is_long_enough() -> None:
    assert len(set(REFUSED) | set(PUBLIC)) >= 60


@pytest.mark.parametrize("address", REFUSED + NOT_NUMERIC)
def test_an_inner_address_is_refused_with_a_reason(address: str) -> None:
    assert forbidden(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_not(address: str) -> None:
    assert forbidden(address) is None


@pytest.mark.parametrize("address", REFUSED + PUBLIC)
def test_allowing_loopback_opens_loopback_and_nothing_else(address: str) -> None:
    if address.startswith("127.") or address == "::1":
        assert forbidden(address, allow_loopback=True) is None
    else:
        assert forbidden(address, allow_loopback=True) == forbidden(address)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://unitalk.cloud", Url("https", "unitalk.cloud", 443)),
        ("HTTPS://API.Unitalk.Cloud:8443/tracking/rec/1.2/2026", Url("https", "api.unitalk.cloud", 8443)),
        ("http://127.0.0.1/x?y=@z", Url("http", "127.0.0.1", 80)),
        ("https://unitalk.cloud./x", Url("https", "unitalk.cloud", 443)),
        ("https://[::1]:8000/x", Url("https", "::1", 8000)),
        ("https://unitalk.cloud?x=1", Url("https", "unitalk.cloud", 443)),
    ],
)
def test_a_plain_url_is_read(text: str, url: Url) -> None:
    assert read_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unitalk.cloud/x",
        "ftp://unitalk.cloud/",
        "file:///etc/passwd",
        "https://",
        "https:///x",
        "https://user@unitalk.cloud/",
        "https://unitalk.cloud:x@evil.example/",
        "https://unitalk.cloud@evil.example/",
        "https://evil.example\\@unitalk.cloud/",
        "https://evil.example\\.unitalk.cloud/",
        "https://unitalk.cloud#@evil.example/",
        "https://unitalk.cloud:0/",
        "https://unitalk.cloud:65536/",
        "https://unitalk.cloud:+443/",
        "https://unitalk.cloud:٤٤٣/",
        "https://unitalk.cloud/a b",
        "https://unitalk.cloud/\n",
        "https://unitalk.cloud/\r\nHost: x",
        " https://unitalk.cloud/",
        "https://unitalk..cloud/",
        "https://-x.example/",
        "https://unıtalk.cloud/",
        "https://[::1/",
        "https://[::g]/",
        "https://[1.2.3.4]:",
        "https://[fe80::1%25eth0]/",
    ],
)
def test_a_url_that_could_be_read_two_ways_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"address") as refused:
        read_url(text)
    assert "evil" not in str(refused.value)
    assert "unitalk" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "matches"),
    [
        ("unitalk.cloud", True),
        ("UNITALK.cloud.", True),
        ("api.unitalk.cloud", True),
        ("a.b.unitalk.cloud", True),
        ("cstat.nextel.com.ua", True),
        ("nextel.com.ua", False),
        ("x.cstat.nextel.com.ua", False),
        ("evilunitalk.cloud", False),
        ("unitalk.cloud.evil.example", False),
        (".unitalk.cloud", False),
        ("", False),
    ],
)
def test_host_patterns(host: str, matches: bool) -> None:
    assert host_matches(host, ["unitalk.cloud", "*.unitalk.cloud", "cstat.nextel.com.ua", ""]) is matches


def test_a_star_alone_does_not_include_the_name_itself() -> None:
    assert not host_matches("unitalk.cloud", ["*.unitalk.cloud"])


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_hosts(host: str) -> None:
    assert is_loopback_host(host)


@pytest.mark.parametrize(
    "host", ["localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.1", "::ffff:127.0.0.1", ""]
)
def test_what_only_looks_like_loopback(host: str) -> None:
    assert not is_loopback_host(host)
