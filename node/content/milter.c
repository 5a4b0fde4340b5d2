/* The filters' thread: queues, deadlines, the beginning and the end. See milter.h. */
#include "node/content/milter_impl.h"

#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define TICK_MS 100

_Static_assert(POLICY_MILTER_SOCKET_MAX < SERVER_NAME_ROOM, "a socket is a name there");

static void finish(struct milter_job *job, const char *why)
{
    job->answered = why == NULL;
    if (why != NULL && why != job->why)
        snprintf(job->why, sizeof job->why, "%s", why);
    job->done(job);
}

/* ---- queues -------------------------------------------------------------------------------------------- */

static bool has_conns(const struct milters *m, const struct milter_peer *peer)
{
    LIST_EACH(link, &m->conns)
        if (LIST_ITEM(link, struct milter_conn, link)->peer == peer)
            return true;
    return false;
}

/* NULL: all are in use. */
static struct milter_peer *peer_of(struct milters *m, const char *socket)
{
    struct milter_peer *spare = NULL;
    for (uint32_t i = 0; i < SERVERS_KNOWN; i++) {
        struct milter_peer *p = &m->peers[i];
        if (strcmp(p->socket, socket) == 0)
            return p;
        if (p->running == 0 && list_empty(&p->queue) && !has_conns(m, p))
            spare = p;
    }
    if (spare != NULL)
        snprintf(spare->socket, sizeof spare->socket, "%s", socket);
    return spare;
}

static struct milter_job *next(struct milters *m, struct milter_peer *peer)
{
    struct list *link = list_pop_front(&peer->queue);
    ensure(link != NULL);
    atomic_fetch_sub(&m->waiting, 1);
    return LIST_ITEM(link, struct milter_job, link);
}

/* Those whose turn it is. */
static void go_on(struct milters *m, struct milter_peer *peer)
{
    if (peer->going_on) /* what it began has ended at once: the loop below sees it */
        return;
    peer->going_on = true;
    for (struct list *link; (link = list_first(&peer->queue)) != NULL;) {
        const struct milter_job *first = LIST_ITEM(link, struct milter_job, link);
        bool rests = servers_rest(&m->servers, peer->socket, clock_boot_ms());
        if (!rests && !m->stopping && peer->running >= first->checks)
            break;
        struct milter_job *job = next(m, peer);
        if (rests || m->stopping) {
            finish(job, m->stopping ? "the node stops" : "it has not answered lately");
            continue;
        }
        peer->running++;
        atomic_fetch_add(&m->running, 1);
        milter_conn_start(m, peer, job);
    }
    peer->going_on = false;
}

static void ended(struct milters *m, struct milter_peer *peer)
{
    peer->running--;
    atomic_fetch_sub(&m->running, 1);
}

void milter_job_done(struct milter_peer *peer, struct milters *m, struct milter_job *job)
{
    servers_answered(&m->servers, peer->socket);
    ended(m, peer);
    finish(job, NULL);
    go_on(m, peer);
}

void milter_job_failed(struct milter_peer *peer, struct milters *m, struct milter_job *job, bool unreachable,
                       const char *why)
{
    milter_copy_text(job->why, sizeof job->why, span_str(why));
    if (!m->stopping)
        servers_failed(&m->servers, peer->socket, unreachable, job->why);
    ended(m, peer);
    finish(job, job->why);
    go_on(m, peer);
}

void milter_job_again(struct milter_peer *peer, struct milters *m, struct milter_job *job)
{
    ended(m, peer);
    job->fresh = true;
    list_push_front(&peer->queue, &job->link);
    atomic_fetch_add(&m->waiting, 1);
    go_on(m, peer);
}

/* ---- deadlines ----------------------------------------------------------------------------------------- */

/* True: something waits. */
static bool look_at_queue(struct milters *m, struct milter_peer *peer, int64_t now_ms)
{
    LIST_EACH_SAFE(link, &peer->queue)
    {
        struct milter_job *job = LIST_ITEM(link, struct milter_job, link);
        if (job->until_ms > now_ms)
            continue;
        list_remove(link);
        atomic_fetch_sub(&m->waiting, 1);
        finish(job, "its turn did not come in time");
    }
    return !list_empty(&peer->queue);
}

/* One that is over its time, with a message or without; NULL: none. */
static struct milter_conn *overdue(struct milters *m, int64_t now_ms)
{
    LIST_EACH(link, &m->conns)
    {
        struct milter_conn *c = LIST_ITEM(link, struct milter_conn, link);
        if ((c->job != NULL ? c->job->until_ms : c->idle_ms + MILTER_IDLE_MS) <= now_ms)
            return c;
    }
    return NULL;
}

static void tick_cb(uv_timer_t *timer)
{
    struct milters *m = timer->data;
    int64_t now_ms = clock_boot_ms();
    bool more = false;
    for (uint32_t i = 0; i < SERVERS_KNOWN; i++)
        more = look_at_queue(m, &m->peers[i], now_ms) || more;
    for (struct milter_conn *c; (c = overdue(m, now_ms)) != NULL;) /* one that fails may begin others */
        milter_conn_fail(c, false, c->connected ? "no answer in time" : "no connection in time");
    if (!more && list_empty(&m->conns))
        uv_timer_stop(&m->tick);
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

static void stop(struct milters *m)
{
    m->stopping = true;
    for (uint32_t i = 0; i < SERVERS_KNOWN; i++)
        go_on(m, &m->peers[i]);
    for (struct list *link; (link = list_first(&m->conns)) != NULL;)
        milter_conn_fail(LIST_ITEM(link, struct milter_conn, link), false, "the node stops");
    uv_close((uv_handle_t *)&m->tick, NULL);
    inbox_close(&m->inbox, NULL);
}

static void asked_cb(void *ctx, struct inbox_msg *msg)
{
    struct milters *m = ctx;
    if (msg == &m->stop) {
        stop(m);
        return;
    }
    struct milter_job *job = LIST_ITEM(msg, struct milter_job, msg);
    struct milter_peer *peer = peer_of(m, job->conf->socket);
    if (peer == NULL) {
        atomic_fetch_sub(&m->waiting, 1);
        finish(job, "too many filters");
        return;
    }
    list_push_back(&peer->queue, &job->link);
    if (!m->stopping && !uv_is_active((uv_handle_t *)&m->tick))
        uv_timer_start(&m->tick, tick_cb, TICK_MS, TICK_MS);
    go_on(m, peer);
}

static void *milters_main(void *arg)
{
    struct milters *m = arg;
    uv_run(&m->loop, UV_RUN_DEFAULT);
    return NULL;
}

int milters_ask(struct milters *m, struct milter_job *job)
{
    if (atomic_fetch_add(&m->waiting, 1) >= MILTER_WAITING_MAX) {
        atomic_fetch_sub(&m->waiting, 1);
        return ERR_LIMIT;
    }
    int64_t now_ms = clock_boot_ms();
    job->until_ms = now_ms + job->conf->timeout_ms;
    job->most_ms = now_ms + MILTER_PROGRESS_TIMES * job->conf->timeout_ms;
    job->fresh = false;
    job->answered = false;
    job->why[0] = '\0';
    inbox_answer(&m->inbox, &job->msg);
    return 0;
}

void milters_tell(struct milters *m, const char *socket, struct server_told *out)
{
    servers_tell(&m->servers, socket, out);
}

void milters_stats(struct milters *m, uint32_t *running, uint32_t *waiting)
{
    *running = atomic_load(&m->running);
    *waiting = atomic_load(&m->waiting);
}

static int start_thread(struct milters *m)
{
    sigset_t all, was;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &was);
    int err = pthread_create(&m->thread, NULL, milters_main, m);
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    return -err;
}

static void release(struct milters *m)
{
    ensure(uv_loop_close(&m->loop) == 0);
    servers_fini(&m->servers);
    inbox_fini(&m->inbox);
    free(m);
}

int milters_start(struct milters **out)
{
    struct milters *m = calloc(1, sizeof *m);
    int err = m == NULL ? -ENOMEM : uv_loop_init(&m->loop);
    if (err != 0) {
        free(m);
        return err;
    }
    err = inbox_init(&m->inbox, &m->loop, MILTER_WAITING_MAX, asked_cb, m);
    if (err != 0) {
        (void)uv_loop_close(&m->loop);
        free(m);
        return err;
    }
    ensure(uv_timer_init(&m->loop, &m->tick) == 0);
    m->tick.data = m;
    servers_init(&m->servers);
    list_init(&m->conns);
    for (uint32_t i = 0; i < SERVERS_KNOWN; i++)
        list_init(&m->peers[i].queue);
    err = start_thread(m);
    if (err != 0) {
        stop(m);
        (void)uv_run(&m->loop, UV_RUN_DEFAULT);
        release(m);
        return err;
    }
    *out = m;
    return 0;
}

void milters_stop(struct milters *m)
{
    if (m == NULL)
        return;
    inbox_answer(&m->inbox, &m->stop);
    pthread_join(m->thread, NULL);
    release(m);
}
