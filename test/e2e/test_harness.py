"""The harness itself: a sink or DNS server that does not do what it is told would make other tests pass."""
import pathlib
import smtplib
import ssl
import subprocess
import sys

import dnslib
import pytest

from harness.dns import Dns
from harness.dsn import Dsn
from harness.sink import CLOSE, Sink
from harness.util import wait_until


@pytest.fixture
def plain_sink(sink_certificate):
    one = Sink(certificate=sink_certificate)
    yield one
    one.close()


def test_sink_records_what_was_sent(plain_sink, sink_certificate):
    context = ssl.create_default_context(cafile=str(sink_certificate[0]))
    with smtplib.SMTP("127.0.0.1", plain_sink.port) as client:
        client._host = "sink.test"
        client.starttls(context=context)
        client.sendmail("a@x.test", ["b@y.test", "c@y.test"], "Subject: dots\r\n\r\n.one\r\n..two\r\n", ["SIZE=99"])
    message = plain_sink.messages[0]
    assert (message.sender, message.recipients) == ("a@x.test", ["b@y.test", "c@y.test"])
    assert message.content == b"Subject: dots\r\n\r\n.one\r\n..two\r\n"
    assert message.parameters == "size=30 SIZE=99"
    assert message.session.tls is not None


def test_sink_answers_as_told(plain_sink):
    plain_sink.hooks["rcpt"] = lambda s, a: "550 5.1.1 no" if "bad" in a else None
    plain_sink.hooks["dot"] = lambda s, m: CLOSE
    with smtplib.SMTP("127.0.0.1", plain_sink.port) as client:
        client.helo()
        client.mail("a@x.test")
        assert client.rcpt("bad@y.test")[0] == 550
        assert client.rcpt("good@y.test")[0] == 250
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.data("x")
    assert plain_sink.messages == []


def test_sink_can_stop_and_start_listening(plain_sink):
    plain_sink.shut()
    with pytest.raises(OSError):
        smtplib.SMTP("127.0.0.1", plain_sink.port)
    plain_sink.open()
    smtplib.SMTP("127.0.0.1", plain_sink.port).quit()


def ask(dns, name, kind, tcp=False):
    return dnslib.DNSRecord.parse(dnslib.DNSRecord.question(name, kind).send("127.0.0.1", dns.port, tcp=tcp, timeout=2))


def test_dns_answers_as_told():
    dns = Dns()
    dns.mail_domain("example.net", "127.0.0.1", "::1")
    dns.add("www.example.net", "CNAME", "mx1.example.net.")
    answer = ask(dns, "EXAMPLE.net", "MX")
    assert sorted(str(r.rdata) for r in answer.rr) == ["10 mx1.example.net.", "10 mx2.example.net."]
    assert [str(r.rdata) for r in ask(dns, "www.example.net", "A").rr] == ["mx1.example.net.", "127.0.0.1"]
    assert ask(dns, "mx2.example.net", "AAAA", tcp=True).rr[0].rdata.data is not None
    assert ask(dns, "nothing.test", "A").header.rcode == dnslib.RCODE.NXDOMAIN
    assert ask(dns, "example.net", "A").header.rcode == dnslib.RCODE.NOERROR
    dns.fail.update({"s.test": "SERVFAIL", "t.test": "truncate", "q.test": "timeout"})
    dns.add("t.test", "A", "127.0.0.9")
    assert ask(dns, "s.test", "A").header.rcode == dnslib.RCODE.SERVFAIL
    assert ask(dns, "t.test", "A").header.tc and not ask(dns, "t.test", "A").rr
    assert ask(dns, "t.test", "A", tcp=True).rr
    with pytest.raises(TimeoutError):
        ask(dns, "q.test", "A")
    dns.close()


def test_dsn_reader_refuses_what_is_none():
    with pytest.raises(AssertionError):
        Dsn(b"From: a@b\r\nTo: c@d\r\nSubject: x\r\n\r\nnot a report\r\n")


def test_wait_until_fails_loudly():
    with pytest.raises(AssertionError, match="never true"):
        wait_until("never true", lambda: False, 0.1)


@pytest.mark.parametrize("command,text,counts", [
    ("true", "assert 1 == 2", "2 0 0"),                         # it passes alone
    ("false", "assert 1 == 2", "1 1 0"),                        # it fails again
    ("true", "WARNING: ThreadSanitizer: data race", "1 1 0"),   # a second look proves nothing
    ("true", "broken invariant: x", "1 1 0"),
])
def test_what_failed_is_run_again_alone(tmp_path, command, text, counts):
    report, lib = tmp_path / "report.xml", pathlib.Path(__file__).parents[1] / "lib"
    report.write_text(f'<testsuites><testsuite><testcase classname="a" name="good"/><testcase classname="a" name="bad">'
                      f'<failure message="x">{text}</failure></testcase></testsuite></testsuites>')
    said = subprocess.run([sys.executable, lib / "again.py", "ctest", report, command], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert ("PASSED ONLY WHEN REPEATED: a bad" in said.stdout) == (counts == "2 0 0")
    counted = subprocess.run([sys.executable, lib / "junit_count.py", report], capture_output=True, text=True)
    assert counted.stdout.strip() == counts


def test_many_failures_are_not_run_again(tmp_path):
    report, lib = tmp_path / "report.xml", pathlib.Path(__file__).parents[1] / "lib"
    report.write_text("<testsuite>" + '<testcase name="bad"><failure/></testcase>' * 7 + "</testsuite>")
    subprocess.run([sys.executable, lib / "again.py", "ctest", report, "true"], check=True, capture_output=True)
    counted = subprocess.run([sys.executable, lib / "junit_count.py", report], capture_output=True, text=True)
    assert counted.stdout.strip() == "0 7 0"
