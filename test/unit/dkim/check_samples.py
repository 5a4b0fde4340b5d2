"""Every signature that the sample program makes is verified by dkimpy, and none when an octet is changed."""
import subprocess
import sys

import dkim


def parts(out):
    keys, messages = {}, []
    while out:
        line, out = out.split(b"\n", 1)
        words = line.split(b" ", 2)
        if words[0] == b"KEY":
            keys[words[1].decode() + "."] = words[2]
        else:
            assert words[0] == b"MESSAGE", line
            count, size = int(words[1]), int(words[2])
            messages.append((count, out[:size]))
            assert out[size:size + 1] == b"\n"
            out = out[size + 1:]
    return keys, messages


def main():
    keys, messages = parts(subprocess.run(sys.argv[1:], capture_output=True, check=True, timeout=60).stdout)

    def verified(message, index):
        try:
            return dkim.DKIM(message).verify(idx=index, dnsfunc=lambda name, timeout=5: keys[name.decode()])
        except dkim.DKIMException:
            return False

    assert len(keys) == 3 and len(messages) >= 100
    checked = 0
    for count, message in messages:
        for index in range(count):
            assert verified(message, index), (index, message)
            checked += 1
        header, body = message.split(b"\r\n\r\n", 1)
        assert not verified(header + b"\r\n\r\nanother line\r\n" + body, 0), message
        assert not verified(message.replace(b"a@example.com", b"b@example.com", 1), 0), message
        assert not verified(header + b"\r\nReply-To: else@example.com\r\n\r\n" + body, 0), message
        assert not verified(b"From: else@example.com\r\n" + message, 0), message
    print(f"{checked} signatures on {len(messages)} messages")


main()
