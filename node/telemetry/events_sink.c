/* The three sinks. The journal is written to by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one
 * datagram an event, which is all that libsystemd would do here. */
#include "node/telemetry/events_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define STALL_MS 5000 /* a full pipe is waited for so long */

static int open_journal(const char *path)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof to.sun_path)
        return -ENAMETOOLONG;
    memcpy(to.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

int events_sink_open(struct events_sink *s, enum events_target target, const char *path)
{
    *s = (struct events_sink){ .target = EVENTS_OFF, .fd = -1 };
    if (target == EVENTS_OFF)
        return 0;
    if (target == EVENTS_JOURNAL && path == NULL)
        path = JOURNAL_SOCKET;
    if (path != NULL) {
        s->path = strdup(path);
        if (s->path == NULL)
            return -ENOMEM;
    }
    int fd = -EINVAL;
    if (target == EVENTS_STDOUT) {
        fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
        fd = fd < 0 ? -errno : fd;
    } else if (target == EVENTS_JOURNAL) {
        fd = open_journal(path);
    } else if (path != NULL) {
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
        fd = fd < 0 ? -errno : fd;
    }
    if (fd < 0) {
        free(s->path);
        s->path = NULL;
        return fd;
    }
    s->target = target;
    s->fd = fd;
    return 0;
}

void events_sink_close(struct events_sink *s)
{
    if (s->fd >= 0)
        close(s->fd);
    free(s->path);
    *s = (struct events_sink){ .target = EVENTS_OFF, .fd = -1 };
}

static uint64_t count_lines(const char *p, size_t n)
{
    uint64_t lines = 0;
    for (const char *end = p + n; p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
        lines++;
    return lines;
}

/* Waits for a pipe or a socket buffer to have room again. */
static int wait_room(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    int n = poll(&p, 1, STALL_MS);
    return n > 0 ? 0 : n == 0 ? -EAGAIN : -errno;
}

static int write_stream(struct events_sink *s, const char *p, size_t n, size_t *done)
{
    if (s->torn) {
        ssize_t w = write(s->fd, "\n", 1);
        if (w != 1)
            return w < 0 ? -errno : -EIO;
        s->torn = false;
    }
    while (*done < n) {
        ssize_t w = write(s->fd, p + *done, n - *done);
        if (w >= 0) {
            *done += (size_t)w;
            continue;
        }
        if (errno == EINTR)
            continue;
        int err = errno == EAGAIN ? wait_room(s->fd) : -errno;
        if (err != 0)
            return err;
    }
    return 0;
}

/* The fields of one entry. No value holds a line feed, so none needs the binary form. */
static int send_line(int fd, const char *line, size_t n)
{
    static const char head[] = "PRIORITY=6\nSYSLOG_IDENTIFIER=turnpiked-events\nMESSAGE=";
    struct iovec iov[] = { { (void *)(uintptr_t)head, sizeof head - 1 }, { (void *)(uintptr_t)line, n } };
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
    for (;;) {
        if (sendmsg(fd, &msg, MSG_NOSIGNAL) >= 0)
            return 0;
        if (errno == EINTR)
            continue;
        int err = errno == EAGAIN ? wait_room(fd) : -errno;
        if (err != 0)
            return err;
    }
}

static int write_journal(struct events_sink *s, const char *p, size_t n, size_t *done)
{
    bool again = false;
    while (*done < n) {
        size_t line = (size_t)((const char *)memchr(p + *done, '\n', n - *done) - (p + *done)) + 1;
        int err = send_line(s->fd, p + *done, line);
        if ((err == -ECONNREFUSED || err == -ENOTCONN || err == -EPIPE) &&
            !again) { /* journald was restarted */
            int fd = open_journal(s->path);
            if (fd < 0)
                return fd;
            close(s->fd);
            s->fd = fd;
            again = true;
            continue;
        }
        if (err != 0)
            return err;
        *done += line;
        again = false;
    }
    return 0;
}

int events_sink_write(struct events_sink *s, const char *p, size_t n, uint64_t *lost)
{
    size_t done = 0;
    *lost = 0;
    if (s->target == EVENTS_OFF)
        return 0;
    int err = s->target == EVENTS_JOURNAL ? write_journal(s, p, n, &done) : write_stream(s, p, n, &done);
    if (err == 0)
        return 0;
    *lost = count_lines(p + done, n - done);
    s->torn = s->target != EVENTS_JOURNAL && (s->torn || (done > 0 && p[done - 1] != '\n'));
    return err;
}
