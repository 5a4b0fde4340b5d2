/* The admin API's sockets and token file. */
#include "node/admin/listen.h"

#include "base/err.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64

/* ---- unix ---------------------------------------------------------------------------------------------- */

/* 0 when the place is free; a socket that nobody serves is removed. */
static int clear_stale(const struct sockaddr_un *sa, struct admin_error *e)
{
    struct stat st;
    if (lstat(sa->sun_path, &st) != 0)
        return errno == ENOENT ? 0 : admin_fail(e, -errno, "%s: %s", sa->sun_path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return admin_fail(e, ERR_EXISTS, "%s is there and is no socket: move it away", sa->sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return admin_fail(e, -errno, "socket: %s", strerror(errno));
    int err = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 ? 0 : errno;
    close(fd);
    if (err == 0)
        return admin_fail(e, ERR_EXISTS, "another process serves %s: is a node running already?",
                          sa->sun_path);
    if (err != ECONNREFUSED)
        return admin_fail(e, -err, "%s: %s", sa->sun_path, strerror(err));
    return unlink(sa->sun_path) == 0 ? 0 : admin_fail(e, -errno, "%s: %s", sa->sun_path, strerror(errno));
}

static int give_to_group(const char *path, const char *group, struct admin_error *e)
{
    struct group gr, *found = NULL;
    char room[8192];
    if (getgrnam_r(group, &gr, room, sizeof(room), &found) != 0 || found == NULL)
        return admin_fail(e, ERR_NOT_FOUND, "there is no group %s for %s", group, path);
    if (lchown(path, (uid_t)-1, gr.gr_gid) != 0)
        return admin_fail(e, -errno, "%s: can't give it to group %s: %s", path, group, strerror(errno));
    return 0;
}

int admin_listen_unix(const char *path, mode_t mode, const char *group, struct admin_error *e)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(sa.sun_path))
        return admin_fail(e, ERR_BAD, "the socket's path is longer than %zu bytes: %s",
                          sizeof(sa.sun_path) - 1, path);
    memcpy(sa.sun_path, path, strlen(path) + 1);
    int err = clear_stale(&sa, e);
    if (err != 0)
        return err;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return admin_fail(e, -errno, "socket: %s", strerror(errno));
    /* The mode must hold from the first moment, so it comes from the umask; the group follows before
     * listen(). */
    mode_t old = umask((mode_t)(~mode & 0777));
    int bound = bind(fd, (const struct sockaddr *)&sa, sizeof(sa));
    int why = errno;
    umask(old);
    if (bound != 0) {
        err = admin_fail(e, -why, "%s: %s", path, strerror(why));
        close(fd);
        return err;
    }
    if (group != NULL)
        err = give_to_group(path, group, e);
    if (err == 0 && listen(fd, BACKLOG) != 0)
        err = admin_fail(e, -errno, "%s: %s", path, strerror(errno));
    if (err == 0)
        return fd;
    unlink(path);
    close(fd);
    return err;
}

/* ---- TCP ----------------------------------------------------------------------------------------------- */

union address {
    struct sockaddr sa;
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
};

static bool parse_address(const char *text, union address *a, char host[64])
{
    uint64_t port;
    const char *colon = strrchr(text, ':');
    if (colon == NULL || text_u64(span_str(colon + 1), &port) != 0 || port > 65535)
        return false;
    size_t n = (size_t)(colon - text);
    if (n == 0 || n >= 64)
        return false;
    memcpy(host, text, n);
    host[n] = '\0';
    *a = (union address){ 0 };
    if (host[0] != '[') {
        a->in4.sin_family = AF_INET;
        a->in4.sin_port = htons((uint16_t)port);
        return inet_pton(AF_INET, host, &a->in4.sin_addr) == 1;
    }
    char bare[64];
    if (n < 4 || host[n - 1] != ']')
        return false;
    memcpy(bare, host + 1, n - 2);
    bare[n - 2] = '\0';
    a->in6.sin6_family = AF_INET6;
    a->in6.sin6_port = htons((uint16_t)port);
    return inet_pton(AF_INET6, bare, &a->in6.sin6_addr) == 1;
}

static bool is_loopback(const union address *a)
{
    if (a->sa.sa_family == AF_INET)
        return ntohl(a->in4.sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
}

int admin_listen_tcp(const char *address, bool remote, uint16_t *port, char host[64], struct admin_error *e)
{
    union address a;
    if (!parse_address(address, &a, host))
        return admin_fail(e, ERR_BAD, "%s is no address with port, as 127.0.0.1:8025 or [::1]:8025", address);
    if (!remote && !is_loopback(&a))
        return admin_fail(e, ERR_DENIED, "%s is not a loopback address, and there is no certificate: the admin API "
                          "would speak plain HTTP",
                          address);
    int fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return admin_fail(e, -errno, "socket: %s", strerror(errno));
    int on = 1;
    socklen_t len = a.sa.sa_family == AF_INET ? sizeof(a.in4) : sizeof(a.in6);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (a.sa.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, &a.sa, len) != 0 || listen(fd, BACKLOG) != 0 || getsockname(fd, &a.sa, &len) != 0) {
        int err = admin_fail(e, -errno, "%s: %s", address, strerror(errno));
        close(fd);
        return err;
    }
    *port = ntohs(a.sa.sa_family == AF_INET ? a.in4.sin_port : a.in6.sin6_port);
    return fd;
}

/* ---- token --------------------------------------------------------------------------------------------- */

static int check_token_file(int fd, const char *path, struct admin_error *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return admin_fail(e, -errno, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return admin_fail(e, ERR_BAD, "%s is no regular file", path);
    if ((st.st_mode & 0137) != 0)
        return admin_fail(e, ERR_DENIED, "%s has mode %04o: it holds a secret, so chmod 0640 it (or 0600)",
                          path, (unsigned)(st.st_mode & 07777));
    return 0;
}

int admin_token_read(const char *path, char token[ADMIN_TOKEN_MAX + 1], struct admin_error *e)
{
    char line[ADMIN_TOKEN_MAX + 3];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return admin_fail(e, -errno, "%s: %s", path, strerror(errno));
    int err = check_token_file(fd, path, e);
    ssize_t got = err == 0 ? read(fd, line, sizeof(line)) : 0;
    if (got < 0)
        err = admin_fail(e, -errno, "%s: %s", path, strerror(errno));
    close(fd);
    size_t n = got > 0 ? (size_t)got : 0;
    while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
        n--;
    bool good = n >= 16 && n <= ADMIN_TOKEN_MAX;
    for (size_t i = 0; good && i < n; i++)
        good = line[i] > 0x20 && line[i] < 0x7f;
    if (err == 0 && !good)
        err = admin_fail(e, ERR_BAD, "%s must hold one line of 16 to %d printable characters without blanks",
                         path, ADMIN_TOKEN_MAX);
    if (err == 0) {
        memcpy(token, line, n);
        token[n] = '\0';
    }
    explicit_bzero(line, sizeof(line));
    return err;
}
