/* A name server for tests, in a thread of its own: UDP and TCP on 127.0.0.1, answering from a table. */
#ifndef TEST_UNIT_NET_RESPONDER_H
#define TEST_UNIT_NET_RESPONDER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

enum responder_how {
    RESPONDER_ANSWER,
    RESPONDER_NXDOMAIN,
    RESPONDER_SERVFAIL,
    RESPONDER_REFUSED,
    RESPONDER_DROP,     /* no answer at all */
    RESPONDER_TRUNCATE, /* by UDP only a mark that it was cut: the records come by TCP */
    RESPONDER_GARBAGE,  /* bytes that are no message */
};

struct responder_rule {
    const char *name; /* lower case, no final dot */
    const char *type; /* "MX", ...; "*": any */
    enum responder_how how;
    /* records, parted by ";": "MX 10 mx.example", "A 192.0.2.1", "AAAA ::1", "CNAME x.example", "PTR x", "TXT
     * words". "MX*500 example": 500 hosts mx0.example, mx1.example, ... of preference 10, 11, ... */
    const char *records;
};

struct responder {
    const struct responder_rule *rules; /* ended by a NULL name; anything else is NXDOMAIN, or no data where
                                           another type of the name is there */
    int udp, tcp, stop[2];
    uint16_t port;
    pthread_t thread;
    atomic_uint udp_queries, tcp_queries;
};

void responder_start(struct responder *r, const struct responder_rule *rules);
void responder_stop(struct responder *r);

#endif
