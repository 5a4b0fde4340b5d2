"""What arping does for the address hook, -U and -A: says once, on Ethernet, where an address is now. It is not to be had
everywhere, and the hook is to be tried as it is."""
import argparse
import fcntl
import socket
import struct
import time

ARP, REQUEST, REPLY, SIOCGIFHWADDR = 0x0806, 1, 2, 0x8927


def announce(interface, address, how):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP)) as sock:
        sock.bind((interface, ARP))
        found = fcntl.ioctl(sock, SIOCGIFHWADDR, struct.pack("256s", interface.encode()))
        mac, ip = found[18:24], socket.inet_aton(address)
        target = b"\xff" * 6 if how == REQUEST else mac
        sock.send(b"\xff" * 6 + mac + struct.pack("!HHHBBH", ARP, 1, 0x0800, 6, 4, how) + mac + ip + target + ip)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-q", action="store_true")
    parser.add_argument("-c", type=int, default=1)
    parser.add_argument("-U", action="store_true")
    parser.add_argument("-A", action="store_true")
    parser.add_argument("-I", required=True)
    parser.add_argument("-s", required=True)
    parser.add_argument("address")
    options = parser.parse_args()
    for number in range(options.c):
        if number > 0:
            time.sleep(1)  # a neighbour that has just learnt the old place does not believe it within a second
        announce(options.I, options.s, REPLY if options.A else REQUEST)


if __name__ == "__main__":
    main()
