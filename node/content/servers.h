/* What is known of the servers and filters that are asked about content: one that cannot be connected to, or
 * that failed SERVER_FAILURES times in a row, rests for SERVER_REST_MS, so that nobody waits for it
 * meanwhile. Of one thread that asks; what is told of them, any thread may read.
 */
#ifndef NODE_CONTENT_SERVERS_H
#define NODE_CONTENT_SERVERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define SERVERS_KNOWN 32 /* of this policy and of some before; the one that was longest unused makes room */
#define SERVER_NAME_ROOM 256
#define SERVER_FAILURES 3
#define SERVER_REST_MS 5000

struct server_told {
    bool down;        /* it failed last, so that it rested or rests */
    int64_t since_ms; /* wall clock */
    char why[200];
};

struct servers {
    pthread_mutex_t lock;
    struct server {
        char name[SERVER_NAME_ROOM]; /* a URL or a socket; "": free */
        uint32_t failures;           /* in a row */
        int64_t rest_ms;             /* until then */
        int64_t used_ms;
        struct server_told told;
    } items[SERVERS_KNOWN]; /* written by the thread, under the lock */
};

void servers_init(struct servers *s);
void servers_fini(struct servers *s);
/* Whether it rests; it is known from now on. */
bool servers_rest(struct servers *s, const char *name, int64_t now_ms);
void servers_answered(struct servers *s, const char *name);
/* `unreachable`: nobody takes connections. */
void servers_failed(struct servers *s, const char *name, bool unreachable, const char *why);
/* Any thread. */
void servers_tell(struct servers *s, const char *name, struct server_told *out);

#endif
