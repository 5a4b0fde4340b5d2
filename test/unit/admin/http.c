/* A client that sends exactly the bytes it is told to, and reads one reply. */
#include "test/unit/admin/http.h"

#include "base/buf.h"
#include "base/ensure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int http_connect_unix(struct fake_server *s)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ensure(fd >= 0);
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", s->socket);
    ensure(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
    return fd;
}

int http_connect_tcp(struct fake_server *s)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(s->port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ensure(fd >= 0);
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ensure(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
    return fd;
}

bool http_write(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n > 0) {
        ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent < 0)
            return false;
        at += sent;
        n -= (size_t)sent;
    }
    return true;
}

/* Joins the chunks in place; true when the last one is there. */
static bool join_chunks(char *body, size_t *len)
{
    char *from = body, *to = body, *end = body + *len;
    for (;;) {
        char *line_end = memmem(from, (size_t)(end - from), "\r\n", 2);
        if (line_end == NULL)
            return false;
        size_t n = strtoul(from, NULL, 16);
        from = line_end + 2;
        if (n == 0) {
            *len = (size_t)(to - body);
            *to = '\0';
            return true;
        }
        if ((size_t)(end - from) < n + 2)
            return false;
        memmove(to, from, n);
        to += n;
        from += n + 2;
    }
}

/* Whether `raw` holds a whole reply. */
static bool parse(const struct buf *raw, struct http_reply *r)
{
    free(r->raw);
    r->raw = malloc(raw->len + 1);
    ensure(r->raw != NULL);
    if (raw->len > 0)
        memcpy(r->raw, raw->data, raw->len);
    r->raw[raw->len] = '\0';
    r->head = r->raw;
    char *end = strstr(r->raw, "\r\n\r\n");
    if (end == NULL)
        return false;
    end[2] = '\0';
    r->body = end + 4;
    r->body_len = raw->len - (size_t)(r->body - r->raw);
    ensure(sscanf(r->raw, "HTTP/1.1 %d", &r->status) == 1);
    if (r->status == 100) { /* the real one follows */
        r->status = 0;
        return false;
    }
    const char *length = strcasestr(r->head, "\r\nContent-Length: ");
    if (strcasestr(r->head, "\r\nTransfer-Encoding: chunked") != NULL)
        r->complete = join_chunks(r->body, &r->body_len);
    else
        r->complete = length != NULL && r->body_len >= strtoul(length + 18, NULL, 10);
    return r->complete;
}

void http_read(int fd, int timeout_ms, struct http_reply *out)
{
    struct buf raw;
    char block[16384];
    *out = (struct http_reply){ 0 };
    buf_init(&raw, 64u << 20);
    for (;;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (poll(&p, 1, timeout_ms) <= 0)
            break;
        ssize_t n = recv(fd, block, sizeof(block), 0);
        if (n <= 0)
            break;
        ensure(buf_put(&raw, block, (size_t)n) == 0);
        /* A long one is looked at only where it may end. */
        bool may_end = raw.len < 200000 || memcmp(raw.data + raw.len - 5, "0\r\n\r\n", 5) == 0;
        if (may_end && parse(&raw, out))
            break;
    }
    parse(&raw, out);
    buf_fini(&raw);
}

void http_reply_free(struct http_reply *r)
{
    free(r->raw);
    *r = (struct http_reply){ 0 };
}

void http_local(struct fake_server *s, const char *method, const char *target, const char *body,
                struct http_reply *out)
{
    char head[2048];
    fake_node_sync(&s->node);
    int fd = http_connect_unix(s);
    if (body == NULL)
        snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nHost: x\r\n\r\n", method, target);
    else
        snprintf(head, sizeof(head),
                 "%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                 method, target, strlen(body));
    http_write(fd, head, strlen(head));
    if (body != NULL)
        http_write(fd, body, strlen(body));
    http_read(fd, HTTP_PATIENCE_MS, out);
    close(fd);
    fake_node_sync(&s->node);
}

void http_tcp(struct fake_server *s, const char *request, struct http_reply *out)
{
    int fd = http_connect_tcp(s);
    http_write(fd, request, strlen(request));
    http_read(fd, HTTP_PATIENCE_MS, out);
    close(fd);
    fake_node_sync(&s->node);
}
