/* The thread that talks to Dovecot. */
#include "node/auth/dovecot_link.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define OUT_MAX 65536    /* bytes not yet taken by the socket */
#define REQUEST_MAX 4096 /* of one request, so that it fits or waits */
#define RECONNECT_MS 1000
#define ID_SLOTS DOVECOT_UNDER_WAY_MAX

struct dovecot_link {
    struct dovecot_link_config config;
    char *socket, *service;
    pthread_t thread;
    int wake; /* eventfd */
    pthread_mutex_t lock;
    struct list incoming; /* under lock */
    uint32_t count;       /* under lock: waiting and under way */
    bool stopping;        /* under lock */
    /* From here on the thread's own. */
    struct dovecot proto;
    struct buf out;
    int fd; /* -1: no connection */
    int64_t connect_after_ms;
    bool told; /* that Dovecot can't be reached */
    struct list waiting;
    struct dovecot_check *slots[ID_SLOTS]; /* by id % ID_SLOTS */
    uint32_t under_way;
    uint32_t round; /* upper bits of the next id */
    uint32_t next_slot;
};

/* ---- answers ------------------------------------------------------------------------------------------- */

static void finish(struct dovecot_link *l, struct dovecot_check *c, enum dovecot_event result,
                   struct span user)
{
    pthread_mutex_lock(&l->lock);
    l->count--;
    pthread_mutex_unlock(&l->lock);
    l->config.fn(l->config.ctx, c, result, user);
}

static void finish_waiting(struct dovecot_link *l)
{
    struct list *link;
    while ((link = list_pop_front(&l->waiting)) != NULL)
        finish(l, LIST_ITEM(link, struct dovecot_check, link), DOVECOT_TEMP, (struct span){ "", 0 });
}

static void on_event(void *ctx, enum dovecot_event event, uint32_t id, struct span user)
{
    struct dovecot_link *l = ctx;
    if (event == DOVECOT_READY) {
        if (l->told)
            log_info("auth", "dovecot at %s answers again", l->socket);
        l->told = false;
        return;
    }
    struct dovecot_check *c = l->slots[id % ID_SLOTS];
    if (c == NULL || c->id != id)
        return; /* it timed out meanwhile */
    l->slots[id % ID_SLOTS] = NULL;
    l->under_way--;
    finish(l, c, event, user);
}

/* ---- connection ---------------------------------------------------------------------------------------- */

static void wipe_out(struct dovecot_link *l)
{
    if (l->out.data != NULL)
        explicit_bzero(l->out.data, l->out.cap);
    buf_reset(&l->out);
}

static void disconnect(struct dovecot_link *l, const char *why)
{
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
    wipe_out(l);
    if (!l->told)
        log_warn("auth", "dovecot at %s: %s; logins are put off until it answers", l->socket, why);
    l->told = true;
    for (uint32_t i = 0; i < ID_SLOTS; i++) {
        struct dovecot_check *c = l->slots[i];
        l->slots[i] = NULL;
        if (c == NULL)
            continue;
        l->under_way--;
        if (c->again) {
            finish(l, c, DOVECOT_TEMP, (struct span){ "", 0 });
            continue;
        }
        c->again = true;
        list_push_back(&l->waiting, &c->link);
    }
}

static void connect_now(struct dovecot_link *l)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    l->connect_after_ms = clock_boot_ms() + RECONNECT_MS;
    ensure(strlen(l->socket) < sizeof sa.sun_path);
    strcpy(sa.sun_path, l->socket);
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* A Unix socket connects at once, or its backlog is full: then it is busy beyond help. */
    if (l->fd < 0 || connect(l->fd, (struct sockaddr *)&sa, sizeof sa) != 0) {
        disconnect(l, err_text(-errno));
        finish_waiting(l);
        return;
    }
    dovecot_start(&l->proto, (uint32_t)getpid(), &l->out);
}

static void read_some(struct dovecot_link *l)
{
    char data[16384];
    ssize_t n = recv(l->fd, data, sizeof data, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        disconnect(l, n == 0 ? "closed the connection" : err_text(-errno));
        return;
    }
    if (dovecot_input(&l->proto, data, (size_t)n, on_event, l) != 0)
        disconnect(l, l->proto.why);
}

static void write_some(struct dovecot_link *l)
{
    ssize_t n = send(l->fd, l->out.data, l->out.len, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        disconnect(l, err_text(-errno));
        return;
    }
    buf_consume(&l->out, (size_t)n);
    if (l->out.len == 0)
        wipe_out(l);
}

/* ---- requests ------------------------------------------------------------------------------------------ */

/* A free slot; there is one. The id's upper bits change, so that a late answer meets nobody else's check. */
static uint32_t take_slot(struct dovecot_link *l)
{
    ensure(l->under_way < ID_SLOTS);
    while (l->slots[l->next_slot] != NULL)
        l->next_slot = (l->next_slot + 1) % ID_SLOTS;
    uint32_t slot = l->next_slot;
    l->next_slot = (slot + 1) % ID_SLOTS;
    l->round = l->round % (UINT32_MAX / ID_SLOTS) + 1;
    return (l->round - 1) * ID_SLOTS + slot;
}

static void send_waiting(struct dovecot_link *l)
{
    while (!list_empty(&l->waiting) && l->under_way < ID_SLOTS && l->out.len + REQUEST_MAX <= OUT_MAX) {
        struct dovecot_check *c = LIST_ITEM(list_pop_front(&l->waiting), struct dovecot_check, link);
        c->id = take_slot(l);
        if (c->id == 0) /* Dovecot wants ids over 0 */
            c->id = take_slot(l);
        if (dovecot_request(c->id, span_str(l->service), span_str(c->user), span_str(c->password),
                            span_str(c->client), &l->out) != 0) {
            finish(l, c, DOVECOT_FAIL, (struct span){ "", 0 });
            continue;
        }
        l->slots[c->id % ID_SLOTS] = c;
        l->under_way++;
    }
}

/* Ends what is too old; the next deadline, or -1. */
static int64_t expire(struct dovecot_link *l, int64_t now_ms)
{
    int64_t next = -1;
    LIST_EACH_SAFE(link, &l->waiting)
    {
        struct dovecot_check *c = LIST_ITEM(link, struct dovecot_check, link);
        if (c->deadline_ms <= now_ms) {
            list_remove(link);
            finish(l, c, DOVECOT_TEMP, (struct span){ "", 0 });
        } else if (next < 0 || c->deadline_ms < next) {
            next = c->deadline_ms;
        }
    }
    for (uint32_t i = 0; i < ID_SLOTS && l->under_way > 0; i++) {
        struct dovecot_check *c = l->slots[i];
        if (c != NULL && c->deadline_ms <= now_ms) {
            l->slots[i] = NULL;
            l->under_way--;
            finish(l, c, DOVECOT_TEMP, (struct span){ "", 0 });
        } else if (c != NULL && (next < 0 || c->deadline_ms < next)) {
            next = c->deadline_ms;
        }
    }
    return next;
}

/* ---- thread -------------------------------------------------------------------------------------------- */

static bool take_incoming(struct dovecot_link *l)
{
    uint64_t n;
    if (read(l->wake, &n, sizeof n) < 0)
        n = 0; /* woken by something else */
    pthread_mutex_lock(&l->lock);
    list_splice(&l->waiting, &l->incoming);
    bool stopping = l->stopping;
    pthread_mutex_unlock(&l->lock);
    return !stopping;
}

/* A connection is made when there is something to ask. */
static void advance(struct dovecot_link *l, int64_t now_ms)
{
    if (l->fd < 0 && !list_empty(&l->waiting)) {
        if (now_ms >= l->connect_after_ms) {
            connect_now(l);
        } else {
            LIST_EACH_SAFE(link, &l->waiting)
            {
                struct dovecot_check *c = LIST_ITEM(link, struct dovecot_check, link);
                if (!c->again) { /* those that lost their connection wait for the next one */
                    list_remove(link);
                    finish(l, c, DOVECOT_TEMP, (struct span){ "", 0 });
                }
            }
        }
    }
    if (l->fd >= 0 && l->proto.ready)
        send_waiting(l);
}

static int wait_ms(const struct dovecot_link *l, int64_t now_ms, int64_t deadline_ms)
{
    int64_t until = deadline_ms;
    if (l->fd < 0 && !list_empty(&l->waiting) && (until < 0 || l->connect_after_ms < until))
        until = l->connect_after_ms;
    if (until < 0)
        return -1;
    return until <= now_ms ? 0 : until - now_ms > 60000 ? 60000 : (int)(until - now_ms);
}

static void *run(void *arg)
{
    struct dovecot_link *l = arg;
    while (take_incoming(l)) {
        int64_t now_ms = clock_boot_ms();
        int64_t deadline_ms = expire(l, now_ms);
        advance(l, now_ms);
        struct pollfd fds[2] = { { .fd = l->wake, .events = POLLIN },
                                 { .fd = l->fd,
                                   .events = (short)(POLLIN | (l->out.len > 0 ? POLLOUT : 0)) } };
        if (poll(fds, 2, wait_ms(l, now_ms, deadline_ms)) <= 0 || l->fd < 0)
            continue;
        if (fds[1].revents & POLLOUT)
            write_some(l);
        if (l->fd >= 0 && (fds[1].revents & (POLLIN | POLLHUP | POLLERR)))
            read_some(l);
    }
    l->told = true;
    disconnect(l, "");
    finish_waiting(l);
    return NULL;
}

static void link_free(struct dovecot_link *l)
{
    if (l->wake >= 0)
        close(l->wake);
    dovecot_fini(&l->proto);
    buf_fini(&l->out);
    pthread_mutex_destroy(&l->lock);
    free(l->socket);
    free(l->service);
    free(l);
}

int dovecot_link_start(const struct dovecot_link_config *config, struct dovecot_link **out)
{
    if (strlen(config->socket) >= sizeof((struct sockaddr_un){ 0 }).sun_path)
        return -ENAMETOOLONG;
    struct dovecot_link *l = calloc(1, sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    l->config = *config;
    l->fd = -1;
    l->socket = strdup(config->socket);
    l->service = strdup(config->service);
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&l->lock, NULL);
    list_init(&l->incoming);
    list_init(&l->waiting);
    dovecot_init(&l->proto);
    buf_init(&l->out, OUT_MAX);
    /* At full size from the start: a growing buffer would leave passwords behind in freed memory. */
    int err = buf_reserve(&l->out, OUT_MAX);
    if (err == 0 && (l->socket == NULL || l->service == NULL))
        err = -ENOMEM;
    if (err == 0 && l->wake < 0)
        err = -errno;
    if (err == 0)
        err = -pthread_create(&l->thread, NULL, run, l);
    if (err != 0) {
        link_free(l);
        return err;
    }
    *out = l;
    return 0;
}

static void wake(struct dovecot_link *l)
{
    uint64_t one = 1;
    ssize_t n = write(l->wake, &one, sizeof one);
    ensure(n == (ssize_t)sizeof one || errno == EAGAIN);
}

void dovecot_link_stop(struct dovecot_link *l)
{
    if (l == NULL)
        return;
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    pthread_mutex_unlock(&l->lock);
    wake(l);
    pthread_join(l->thread, NULL);
    link_free(l);
}

int dovecot_link_check(struct dovecot_link *l, struct dovecot_check *c)
{
    c->deadline_ms = clock_boot_ms() + l->config.timeout_ms;
    c->again = false;
    pthread_mutex_lock(&l->lock);
    bool room = l->count < l->config.max;
    if (room) {
        l->count++;
        list_push_back(&l->incoming, &c->link);
    }
    pthread_mutex_unlock(&l->lock);
    if (!room)
        return ERR_LIMIT;
    wake(l);
    return 0;
}
