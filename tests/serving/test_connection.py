"""No client that sends a request without an end, or none at all, keeps the others from their lists."""

import json
import socket
import threading
import time
from contextlib import closing

import httpx
import pytest

from nextclick.serving.connection import MAX_HEAD_BYTES, MAX_HEADERS, MAX_URL_BYTES, REQUEST_SECONDS

SENT_AT_MOST = 64 * 2**20  # bytes: without a limit a worker would take all of them
GET = b"GET /livez HTTP/1.1\r\nHost: shop\r\n"


def sent(port: int, *pieces: bytes, then: bytes = b"", patience: float = 5) -> bytes:
    """What comes back. then: is sent again and again, until an answer comes."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=patience)) as client:
        total = 0
        try:
            for piece in pieces:
                client.sendall(piece)
            client.setblocking(False)
            while then and total < SENT_AT_MOST:
                try:
                    total += client.send(then)
                except BlockingIOError:
                    time.sleep(0.001)
                if answered(client):
                    break
        except (BrokenPipeError, ConnectionResetError):
            pass
        client.setblocking(True)
        client.settimeout(patience)
        received = b""
        try:
            while piece := client.recv(65536):
                received += piece
        except ConnectionResetError:
            pass
        return received


def answered(client: socket.socket) -> bool:
    try:
        return bool(client.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def refused(answer: bytes) -> tuple[int, str]:
    """Status and error of a refusal, which has our form and its length."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert int(headers["content-length"]) == len(body), answer
    assert headers["connection"] == "close"
    told = json.loads(body)
    assert told["request_id"] == headers["x-request-id"]
    return int(status.split()[1]), told["error"]


ATTACKS = {
    "a header without an end": (GET + b"X-Long: ", b"a" * 65536, 431),
    "headers without an end": (GET, b"X-Many: " + b"a" * 1000 + b"\r\n", 431),
    "a URL without an end": (b"GET /", b"a" * 65536, 414),
    "a first line without an end": (b"", b"A" * 65536, 400),
}


ENDLESS = {
    "part": "HTTP",
    "noticed": "the connection, at 32 KiB (8 KiB of a URL, 100 headers); the client gets 431, 414 or 400",
    "lost": "nothing",
    "degraded": "nothing",
    "heals": "at once: the connection is closed",
}


@pytest.mark.parametrize(
    "attack",
    [pytest.param(one, marks=pytest.mark.fault(wrong=f"a client sends {one}", **ENDLESS)) for one in ATTACKS],
)
def test_a_request_without_an_end_is_refused_and_others_get_their_lists(running, attack):
    """Planted: with uvicorn's own protocol the loop stands until all has been sent."""
    service, _, _ = running
    begin, then, status = ATTACKS[attack]
    answers: list[int] = []
    ended = threading.Event()

    def others() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", timeout=5) as client:
            while not ended.is_set():
                answers.append(client.post("/recommend", json={"session_id": "s"}).status_code)

    visitors = threading.Thread(target=others)
    visitors.start()
    try:
        begun = time.monotonic()
        while len(answers) < 20 and time.monotonic() - begun < 30:
            assert refused(sent(service.port, begin, then=then))[0] == status
    finally:
        ended.set()
        visitors.join()
    assert len(answers) >= 20
    assert set(answers) == {200}


def test_limits_are_named_and_what_lies_within_them_passes(running):
    service, _, _ = running
    many = b"".join(b"X-%d: 1\r\n" % i for i in range(MAX_HEADERS - 1))
    close = b"Connection: close\r\n\r\n"
    assert b" 200 " in sent(service.port, GET + many[: -len(b"X-98: 1\r\n")] + close)[:20]
    assert refused(sent(service.port, GET + many + close)) == (431, f"expected at most {MAX_HEADERS} headers")
    path = b"a" * (MAX_URL_BYTES - 1)
    assert b" 404 " in sent(service.port, b"GET /" + path + b" HTTP/1.1\r\nHost: shop\r\n" + close)[:20]
    assert refused(sent(service.port, b"GET /" + path + b"a HTTP/1.1\r\n"))[1].startswith("expected a URL of at most")
    room = MAX_HEAD_BYTES - len(GET + b"X: \r\n" + close)
    assert b" 200 " in sent(service.port, GET + b"X: " + b"a" * room + b"\r\n" + close)[:20]
    assert refused(sent(service.port, GET + b"X: " + b"a" * (room + 1) + b"\r\n" + close))[0] == 431


def test_a_body_that_comes_with_its_head_is_none_of_the_head(running):
    service, _, _ = running
    body = json.dumps({"session_id": "s", "exclude": ["i" * 200] * 400}).encode()
    head = b"POST /recommend HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\nConnection: close\r\n"
    assert len(body) > 2 * MAX_HEAD_BYTES
    answer = sent(service.port, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert answer.split()[1] in (b"200", b"422"), answer[:300]


def test_requests_on_one_connection_are_counted_each_for_itself(running):
    service, _, _ = running
    one = GET + b"X-Pad: " + b"a" * 4000 + b"\r\n\r\n"
    answer = sent(service.port, *[one] * 15, GET + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 16


LATE = {
    "part": "HTTP",
    "noticed": "the connection, after 10 s; the client gets 408",
    "lost": "nothing",
    "degraded": "nothing",
    "heals": "at once: the connection is closed",
}
HALF_OPEN = {"nothing": b"", "half of a header": b"GET /livez HTTP/1.1\r\nX-Slow: ", "half of a head": GET}


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(begin, id=sent, marks=pytest.mark.fault(wrong=f"a client connects and sends {sent}", **LATE))
        for sent, begin in HALF_OPEN.items()
    ],
)
def test_a_request_that_does_not_come_is_refused(running, begin):
    service, _, _ = running
    asked = time.monotonic()
    assert refused(sent(service.port, begin, patience=3 * REQUEST_SECONDS))[0] == 408
    assert time.monotonic() - asked > REQUEST_SECONDS / 2


def test_what_is_no_http_is_refused_in_the_form_of_all_refusals(running):
    service, _, _ = running
    assert refused(sent(service.port, b"\x16\x03\x01\x02\x00 hello\r\n\r\n")) == (400, "expected a request of HTTP/1.1")


def test_refusals_say_their_length(running):
    service, _, _ = running
    for answer in (
        service.client.post("/recommend", content=b"{", headers={"content-type": "application/json"}),
        service.client.post("/recommend", content=b" " * (2**20 + 1)),
        service.client.get("/nothing"),
    ):
        assert answer.status_code >= 400
        assert int(answer.headers["content-length"]) == len(answer.content)
