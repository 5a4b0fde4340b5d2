"""A zone signed with DNSSEC, served by nsd, for a node that has its key as a trust anchor.

    with SignedZone(folder, "signed.test", ["mx IN A 127.0.0.1", ...]) as zone:
        dns.behind["signed.test"] = zone.port     # the harness's server asks nsd for it
        ... "resolver": {"trust_anchor_file": zone.anchor} ...
"""
import hashlib
import pathlib
import socket
import subprocess

from .util import free_port, wait_until


def tlsa(certificate, usage=3, selector=1, matching=1):
    """The record of a certificate's file."""
    form = ["x509", "-in", certificate] + (["-pubkey", "-noout"] if selector else ["-outform", "DER"])
    data = subprocess.run(["openssl", *form], check=True, capture_output=True).stdout
    if selector:
        data = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=data, check=True,
                              capture_output=True).stdout
    digest = {0: data, 1: hashlib.sha256(data).digest(), 2: hashlib.sha512(data).digest()}[matching]
    return f"{usage} {selector} {matching} {digest.hex()}"


class SignedZone:
    """The signatures of TLSA records at the names in `ended` ended long ago."""

    def __init__(self, folder, name, lines, ended=()):
        where = self.where = pathlib.Path(folder) / f"zone-{name}"
        where.mkdir()
        (where / "zone").write_text("\n".join([
            f"$ORIGIN {name}.", "$TTL 60", "@ IN SOA ns hostmaster 1 3600 600 86400 60", "@ IN NS ns", "ns IN A 127.0.0.1",
            *lines]) + "\n")
        self.name = name
        self.ended = ended
        self.port = free_port()

    def run(self, *command):
        return subprocess.run(command, cwd=self.where, check=True, capture_output=True, text=True).stdout

    def __enter__(self):
        key = self.run("ldns-keygen", "-k", "-a", "ECDSAP256SHA256", "-r", "/dev/urandom", self.name).strip()
        self.run("ldns-signzone", "-f", "signed", "zone", key)
        if self.ended:
            self.run("ldns-signzone", "-i", "20200101", "-e", "20200201", "-f", "old", "zone", key)
            self.mix()
        self.anchor = str(self.where / f"{key}.key")
        (self.where / "nsd.conf").write_text(
            f"server:\n  ip-address: 127.0.0.1@{self.port}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{self.where}\"\n"
            f"  pidfile: \"\"\n  database: \"\"\n  xfrdfile: \"{self.where}/xfrd\"\n  zonelistfile: \"{self.where}/zones\"\n"
            f"  server-count: 1\nremote-control:\n  control-enable: no\nzone:\n  name: {self.name}\n  zonefile: signed\n")
        with open(self.where / "nsd.log", "wb") as log:
            self.nsd = subprocess.Popen(["/usr/sbin/nsd", "-d", "-c", self.where / "nsd.conf"], stdout=log, stderr=log)
        wait_until("nsd answers", self.answers)
        return self

    def mix(self):
        def is_ended(line):
            words = line.split()
            return words[3:5] == ["RRSIG", "TLSA"] and words[0].rstrip(".") in self.ended
        new, old = [(self.where / name).read_text().splitlines() for name in ("signed", "old")]
        lines = [line for line in new if not is_ended(line)] + [line for line in old if is_ended(line)]
        assert sum(map(is_ended, lines)) == len(self.ended)
        (self.where / "signed").write_text("\n".join(lines) + "\n")

    def __exit__(self, *_):
        self.nsd.terminate()
        self.nsd.wait(10)

    def answers(self):
        assert self.nsd.poll() is None, (self.where / "nsd.log").read_text()
        question = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"
        question += b"".join(bytes([len(p)]) + p.encode() for p in self.name.split(".")) + b"\x00\x00\x06\x00\x01"
        try:
            return ask(self.port, question, 0.5)[3] & 15 == 0
        except OSError:
            return False


def ask(port, question, timeout=5):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(timeout)
        s.connect(("127.0.0.1", port))
        s.send(question)
        return s.recv(65535)
