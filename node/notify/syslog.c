/* Lines to a syslog: see syslog.h. */
#include "node/notify/syslog.h"

#include "base/clock.h"
#include "base/err.h"
#include "node/net/ip.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void notify_syslog_init(struct notify_syslog *s)
{
    *s = (struct notify_syslog){ .fd = -1 };
}

void notify_syslog_fini(struct notify_syslog *s)
{
    if (s->fd >= 0)
        close(s->fd);
    notify_syslog_init(s);
}

static int wait_for(int fd, short events, int64_t until_ms)
{
    for (;;) {
        int64_t left = until_ms - clock_boot_ms();
        struct pollfd p = { .fd = fd, .events = events };
        int n = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (n > 0)
            return 0;
        if (n == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

static socklen_t address_of(const struct policy_url *url, struct sockaddr_storage *out)
{
    struct ip_addr a;
    memset(out, 0, sizeof *out);
    if (!url->unix_socket)
        return ip_addr_parse(span_str(url->host), &a) != 0 ? 0 : ip_to_sockaddr(&a, url->port, out);
    struct sockaddr_un *un = (struct sockaddr_un *)out;
    un->sun_family = AF_UNIX;
    snprintf(un->sun_path, sizeof un->sun_path, "%.*s", (int)sizeof un->sun_path - 1, url->host);
    return sizeof *un;
}

static int connect_as(struct notify_syslog *s, const struct sockaddr_storage *to, socklen_t n, int type)
{
    s->type = type;
    s->fd = socket(to->ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        return -errno;
    int err = connect(s->fd, (const struct sockaddr *)to, n) == 0 ? 0 : -errno;
    if (err == -EINPROGRESS) {
        socklen_t size = sizeof err;
        err = wait_for(s->fd, POLLOUT, clock_boot_ms() + NOTIFY_SYSLOG_WAIT_MS);
        if (err == 0 && getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &size) == 0)
            err = -err;
    }
    if (err != 0)
        notify_syslog_fini(s);
    return err;
}

/* A socket of a program may be of either kind: as syslog(3) does it. */
static int connect_to(struct notify_syslog *s, const char *text)
{
    struct policy_url url;
    struct sockaddr_storage to;
    if (policy_syslog_parse(span_str(text), &url) != NULL)
        return ERR_BAD;
    socklen_t n = address_of(&url, &to);
    if (n == 0)
        return ERR_BAD;
    int err = connect_as(s, &to, n, url.tcp ? SOCK_STREAM : SOCK_DGRAM);
    if (err == -EPROTOTYPE && url.unix_socket)
        err = connect_as(s, &to, n, SOCK_STREAM);
    if (err == 0)
        snprintf(s->url, sizeof s->url, "%s", text);
    return err;
}

static bool ended(const struct notify_syslog *s)
{
    char byte;
    return s->type == SOCK_STREAM && recv(s->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

int notify_syslog_ready(struct notify_syslog *s, const char *url)
{
    if (s->fd >= 0 && (strcmp(s->url, url) != 0 || ended(s)))
        notify_syslog_fini(s);
    return s->fd >= 0 ? 0 : connect_to(s, url);
}

static int send_all(const struct notify_syslog *s, const char *p, size_t n)
{
    int64_t until = clock_boot_ms() + NOTIFY_SYSLOG_WAIT_MS;
    while (n > 0) {
        ssize_t sent = send(s->fd, p, n, MSG_NOSIGNAL);
        int err = sent >= 0 ? 0 : -errno;
        if (err == -EAGAIN)
            err = wait_for(s->fd, POLLOUT, until);
        if (err != 0 && err != -EINTR)
            return err;
        if (sent > 0) {
            p += sent;
            n -= (size_t)sent;
        }
    }
    return 0;
}

int notify_syslog_send(struct notify_syslog *s, struct span line)
{
    char count[24];
    int n = snprintf(count, sizeof count, "%zu ", line.n);
    int err = s->type == SOCK_STREAM ? send_all(s, count, (size_t)n) : 0;
    if (err == 0)
        err = send_all(s, line.p, line.n);
    if (err != 0)
        notify_syslog_fini(s);
    return err;
}
