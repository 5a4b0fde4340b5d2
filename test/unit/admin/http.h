/* A client that sends exactly the bytes it is told to, and reads one reply. */
#ifndef TEST_ADMIN_HTTP_H
#define TEST_ADMIN_HTTP_H

#include "test/unit/admin/fake_node.h"

/* How long an answer may take that should come at once: machines have other things to do, too. */
#define HTTP_PATIENCE_MS 30000

struct http_reply {
    int status; /* 0: closed without a reply */
    char *head; /* NUL-terminated */
    char *body; /* NUL-terminated, chunks joined */
    size_t body_len;
    bool complete; /* all of the body came */
    char *raw;
};

int http_connect_unix(struct fake_server *s);
int http_connect_tcp(struct fake_server *s);
bool http_write(int fd, const void *p, size_t n);
/* Reads until the reply is complete, the peer closes, or timeout_ms pass without a byte. */
void http_read(int fd, int timeout_ms, struct http_reply *out);
void http_reply_free(struct http_reply *r);

/* A whole exchange over the unix socket: `body` NULL for GET. */
void http_local(struct fake_server *s, const char *method, const char *target, const char *body,
                struct http_reply *out);
/* A whole exchange over TCP with these header lines (each with CRLF) besides none. */
void http_tcp(struct fake_server *s, const char *request, struct http_reply *out);

#endif
