/* A name server for tests (RFC 1035 section 4). Its names and records come from the test, so it only checks
 * that they fit. Its own thread.
 */
#include "responder.h"

#include "base/ensure.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_MAX 65535

struct message {
    uint8_t b[MESSAGE_MAX];
    size_t n;
    unsigned answers;
};

static void put8(struct message *m, unsigned v)
{
    ensure(m->n < MESSAGE_MAX);
    m->b[m->n++] = (uint8_t)v;
}

static void put16(struct message *m, unsigned v)
{
    put8(m, v >> 8);
    put8(m, v & 255);
}

static void put_name(struct message *m, const char *name)
{
    while (*name != '\0') {
        size_t len = strcspn(name, ".");
        if (len == 0)
            break; /* "." is the root */
        put8(m, (unsigned)len);
        for (size_t i = 0; i < len; i++)
            put8(m, (unsigned char)name[i]);
        name += len + (name[len] == '.');
    }
    put8(m, 0);
}

static unsigned type_code(const char *type)
{
    static const struct {
        const char *name;
        unsigned code;
    } types[] = { { "A", 1 }, { "CNAME", 5 }, { "PTR", 12 }, { "MX", 15 }, { "TXT", 16 }, { "AAAA", 28 } };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(type, types[i].name) == 0)
            return types[i].code;
    }
    return 0;
}

static void put_record(struct message *m, const char *owner, const char *type, const char *data)
{
    put_name(m, owner);
    put16(m, type_code(type));
    put16(m, 1);
    put16(m, 0);
    put16(m, 600); /* TTL */
    size_t at = m->n;
    put16(m, 0);
    uint8_t addr[16];
    char name[256] = "";
    unsigned preference = 0;
    if (strcmp(type, "MX") == 0) {
        ensure(sscanf(data, "%u %255s", &preference, name) == 2);
        put16(m, preference);
        put_name(m, name);
    } else if (strcmp(type, "A") == 0 || strcmp(type, "AAAA") == 0) {
        bool v6 = type[1] != '\0';
        ensure(inet_pton(v6 ? AF_INET6 : AF_INET, data, addr) == 1);
        for (int i = 0; i < (v6 ? 16 : 4); i++)
            put8(m, addr[i]);
    } else if (strcmp(type, "TXT") == 0) {
        put8(m, (unsigned)strlen(data));
        for (const char *c = data; *c != '\0'; c++)
            put8(m, (unsigned char)*c);
    } else {
        put_name(m, data);
    }
    size_t len = m->n - at - 2;
    m->b[at] = (uint8_t)(len >> 8);
    m->b[at + 1] = (uint8_t)len;
    m->answers++;
}

/* The records of a rule that answer a question for `type`: those, or a CNAME. */
static void put_records(struct message *m, const char *name, unsigned type, const char *records)
{
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", records);
    char *save = NULL;
    for (char *r = strtok_r(copy, ";", &save); r != NULL; r = strtok_r(NULL, ";", &save)) {
        while (*r == ' ')
            r++;
        unsigned many = 0;
        char parent[200];
        if (sscanf(r, "MX*%u %199s", &many, parent) == 2) {
            for (unsigned i = 0; i < many && type == 15; i++) {
                char data[256];
                snprintf(data, sizeof data, "%u mx%u.%s", 10 + i, i, parent);
                put_record(m, name, "MX", data);
            }
            continue;
        }
        char *data = strchr(r, ' ');
        ensure(data != NULL);
        *data++ = '\0';
        if (type_code(r) == type || type_code(r) == 5)
            put_record(m, name, r, data);
    }
}

static const struct responder_rule *find(const struct responder *r, const char *name, unsigned type,
                                         bool *exists)
{
    *exists = false;
    for (const struct responder_rule *rule = r->rules; rule->name != NULL; rule++) {
        if (strcmp(rule->name, name) != 0)
            continue;
        *exists = true;
        if (rule->type[0] == '*' || type_code(rule->type) == type)
            return rule;
    }
    return NULL;
}

/* Reads the question; false: no message that we understand. */
static bool question(const uint8_t *q, size_t n, char name[256], unsigned *type, size_t *end)
{
    size_t at = 12;
    size_t len = 0;
    while (at < n && q[at] != 0) {
        size_t label = q[at++];
        if (label > 63 || label > n - at || len + label + 2 > 256)
            return false;
        if (len > 0)
            name[len++] = '.';
        for (size_t i = 0; i < label; i++) {
            char c = (char)q[at++];
            name[len++] = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
        }
    }
    name[len] = '\0';
    if (n < at + 5)
        return false;
    *type = (unsigned)(q[at + 1] << 8 | q[at + 2]);
    *end = at + 5;
    return true;
}

/* False: no answer. */
static bool answer(struct responder *r, const uint8_t *q, size_t n, bool tcp, struct message *m)
{
    char name[256];
    unsigned type;
    size_t end;
    if (n < 12 || !question(q, n, name, &type, &end))
        return false;
    bool exists;
    const struct responder_rule *rule = find(r, name, type, &exists);
    enum responder_how how = rule != NULL ? rule->how : exists ? RESPONDER_ANSWER : RESPONDER_NXDOMAIN;
    m->n = 0;
    m->answers = 0;
    if (how == RESPONDER_DROP)
        return false;
    if (how == RESPONDER_GARBAGE) {
        for (int i = 0; i < 40; i++)
            put8(m, i < 2 ? q[i] : 0xee);
        return true;
    }
    for (size_t i = 0; i < end; i++) /* the header and the question as they came */
        put8(m, q[i]);
    bool cut = how == RESPONDER_TRUNCATE && !tcp;
    m->b[2] = (uint8_t)(0x84 | (q[2] & 1) | (cut ? 2 : 0)); /* QR, AA, RD, TC */
    m->b[3] = (uint8_t)(0x80 | (how == RESPONDER_NXDOMAIN   ? 3
                                : how == RESPONDER_SERVFAIL ? 2
                                : how == RESPONDER_REFUSED  ? 5
                                                            : 0));
    memset(m->b + 6, 0, 6);
    if (rule != NULL && rule->records != NULL && !cut)
        put_records(m, name, type, rule->records);
    if (!tcp && m->n > 1200) { /* too long for UDP */
        m->b[2] |= 2;
        m->n = end;
        m->answers = 0;
    }
    m->b[6] = (uint8_t)(m->answers >> 8);
    m->b[7] = (uint8_t)m->answers;
    return true;
}

static void serve_udp(struct responder *r, struct message *m)
{
    uint8_t q[4096];
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    ssize_t n = recvfrom(r->udp, q, sizeof q, 0, (struct sockaddr *)&from, &len);
    if (n <= 0)
        return;
    atomic_fetch_add(&r->udp_queries, 1);
    if (answer(r, q, (size_t)n, false, m))
        sendto(r->udp, m->b, m->n, 0, (struct sockaddr *)&from, len);
}

static bool read_all(int fd, uint8_t *p, size_t n)
{
    while (n > 0) {
        ssize_t got = recv(fd, p, n, 0);
        if (got <= 0)
            return false;
        p += got;
        n -= (size_t)got;
    }
    return true;
}

static void serve_tcp(struct responder *r, struct message *m)
{
    int fd = accept(r->tcp, NULL, NULL);
    if (fd < 0)
        return;
    struct timeval tv = { .tv_sec = 2 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    uint8_t head[2];
    uint8_t q[4096];
    if (read_all(fd, head, 2)) {
        size_t n = (size_t)(head[0] << 8 | head[1]);
        atomic_fetch_add(&r->tcp_queries, 1);
        if (n <= sizeof q && read_all(fd, q, n) && answer(r, q, n, true, m)) {
            head[0] = (uint8_t)(m->n >> 8);
            head[1] = (uint8_t)m->n;
            if (send(fd, head, 2, MSG_NOSIGNAL | MSG_MORE) == 2)
                send(fd, m->b, m->n, MSG_NOSIGNAL);
        }
    }
    close(fd);
}

static void *serve(void *arg)
{
    struct responder *r = arg;
    struct message *m = malloc(sizeof *m);
    ensure(m != NULL);
    for (;;) {
        struct pollfd fds[3] = { { .fd = r->udp, .events = POLLIN },
                                 { .fd = r->tcp, .events = POLLIN },
                                 { .fd = r->stop[0], .events = POLLIN } };
        if (poll(fds, 3, -1) < 0)
            continue;
        if (fds[2].revents != 0)
            break;
        if (fds[0].revents != 0)
            serve_udp(r, m);
        if (fds[1].revents != 0)
            serve_tcp(r, m);
    }
    free(m);
    return NULL;
}

/* UDP and TCP on one port: the system picks it for TCP, and UDP may be taken there. */
static bool bind_both(struct responder *r)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof sa;
    r->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    r->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ensure(r->tcp >= 0 && r->udp >= 0);
    ensure(bind(r->tcp, (struct sockaddr *)&sa, sizeof sa) == 0 && listen(r->tcp, 64) == 0);
    ensure(getsockname(r->tcp, (struct sockaddr *)&sa, &len) == 0);
    r->port = ntohs(sa.sin_port);
    if (bind(r->udp, (struct sockaddr *)&sa, sizeof sa) == 0)
        return true;
    close(r->tcp);
    close(r->udp);
    return false;
}

void responder_start(struct responder *r, const struct responder_rule *rules)
{
    *r = (struct responder){ .rules = rules };
    int tries = 0;
    while (!bind_both(r))
        ensure(++tries < 20);
    ensure(pipe(r->stop) == 0);
    ensure(pthread_create(&r->thread, NULL, serve, r) == 0);
}

void responder_stop(struct responder *r)
{
    ensure(write(r->stop[1], "x", 1) == 1);
    pthread_join(r->thread, NULL);
    close(r->udp);
    close(r->tcp);
    close(r->stop[0]);
    close(r->stop[1]);
}
