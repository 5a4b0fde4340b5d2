/* Erasing an address's traces on this node, for the cluster (COMMAND_ERASE_ADD) or, where there is none, for
 * an operator alone. A node cleans its history when no mail of the address is in its spool any more, for that
 * would come into the history later; then it says so. A node that was away finds what is to be erased in the
 * state when it is back. Mail that comes from another node later is erased, too (cluster_erase_again).
 *
 * One at a time, on the pool for long work; the rest on the cluster thread.
 */
#include "base/clock.h"
#include "base/cond.h"
#include "base/err.h"
#include "base/log.h"
#include "node/auth/pool.h"
#include "node/core/cluster_impl.h"
#include "node/telemetry/history.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TURN_MS 500
#define AGAIN_MS 5000 /* after a pass with mail in the queue, or a failure */
#define SUBMIT_MS 10000

enum step { STEP_FREE, STEP_BUSY, STEP_ERASED };

struct cluster_erase {
    struct cluster *c;
    int64_t turn_ms;
    char at[COMMAND_NAME_MAX + 1]; /* the last address that was looked at */
    atomic_int step;
    atomic_bool closed;
    struct auth_job job;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    bool running; /* under the lock: on the pool */
    char address[COMMAND_NAME_MAX + 1];
    uint64_t id;
};

int cluster_erase_new(struct cluster *c, struct cluster_erase **out)
{
    struct cluster_erase *e = calloc(1, sizeof *e);
    if (e == NULL)
        return -ENOMEM;
    e->c = c;
    pthread_mutex_init(&e->lock, NULL);
    cond_init(&e->idle);
    *out = e;
    return 0;
}

void cluster_erase_free(struct cluster_erase *e)
{
    if (e == NULL)
        return;
    pthread_cond_destroy(&e->idle);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

/* It asks the workers, who must outlive it. */
void cluster_erase_stop(struct cluster_erase *e)
{
    atomic_store(&e->closed, true);
    pthread_mutex_lock(&e->lock);
    while (e->running)
        pthread_cond_wait(&e->idle, &e->lock);
    pthread_mutex_unlock(&e->lock);
}

/* ---- here ---------------------------------------------------------------------------------------------- */

static bool has_address(const struct spool_info *info, struct span address)
{
    const struct envelope *e = &info->env;
    if (span_eq_nocase(e->mail_from, address) || span_eq_nocase(e->account, address))
        return true;
    for (uint32_t i = 0; i < e->nrcpts; i++)
        if (!rcpt_state_terminal(info->rcpts[i].state) && span_eq_nocase(e->rcpts[i].address, address))
            return true;
    return false;
}

/* Also what is in no queue, since it is on its way to another node, or came from one and is not ours yet. */
static int look_for_living(struct node *n, struct span address, const atomic_bool *stop, bool *living)
{
    uint64_t *ids;
    size_t count;
    int err = spool_living(n->spool, &ids, &count);
    *living = false;
    for (size_t i = 0; i < count && err == 0 && !*living; i++) {
        struct spool_info *info;
        err = atomic_load(stop) ? ERR_CLOSED : spool_info(n->spool, ids[i], &info);
        if (err == 0) {
            *living = has_address(info, address);
            spool_info_free(info);
        }
        if (err == ERR_NOT_FOUND || err == ERR_CORRUPT) /* ended meanwhile; nobody can tell whose it is */
            err = 0;
    }
    free(ids);
    return err;
}

/* The second look is for what the first one missed while it got another id, and for what came meanwhile. */
int erase_here(struct node *n, const char *address, const atomic_bool *stop, uint64_t *rows, bool *living)
{
    *rows = 0;
    int err = look_for_living(n, span_str(address), stop, living);
    if (err != 0 || n->history == NULL)
        return err;
    (void)spool_flush(n->spool); /* what ended a moment ago */
    err = history_erase(n->history, span_str(address), stop, rows);
    return err != 0 || *living ? err : look_for_living(n, span_str(address), stop, living);
}

static void run_job(struct auth_job *job, int stopping)
{
    struct cluster_erase *e = LIST_ITEM(job, struct cluster_erase, job);
    uint64_t rows = 0;
    bool living = true;
    pthread_mutex_lock(&e->lock);
    e->running = !stopping && !atomic_load(&e->closed);
    bool go = e->running;
    pthread_mutex_unlock(&e->lock);
    int err = go ? erase_here(e->c->node, e->address, &e->closed, &rows, &living) : ERR_CLOSED;
    if (err != 0 && err != ERR_CLOSED)
        log_warn("privacy", "an address is not erased yet, and is tried again: %s", err_text(err));
    else if (rows > 0)
        log_info("privacy", "an address was erased from %llu rows of the history", (unsigned long long)rows);
    atomic_store(&e->step, err == 0 && !living ? STEP_ERASED : STEP_FREE);
    pthread_mutex_lock(&e->lock);
    e->running = false;
    pthread_cond_broadcast(&e->idle);
    pthread_mutex_unlock(&e->lock);
}

/* ---- for the cluster ----------------------------------------------------------------------------------- */

static void told_cb(void *ctx, int err, const struct machine_result *r)
{
    struct cluster_erase *e = ctx;
    (void)r; /* it may not be asked for any more */
    atomic_store(&e->step, err == 0 ? STEP_FREE : STEP_ERASED);
}

static void tell(struct cluster_erase *e)
{
    struct command cmd = { .type = COMMAND_ERASE_DONE,
                           .erase = { .address = span_str(e->address), .id = e->id } };
    atomic_store(&e->step, STEP_BUSY);
    if (agent_submit(e->c->agent, &cmd, SUBMIT_MS, told_cb, e) != 0)
        atomic_store(&e->step, STEP_ERASED);
}

static int on_erasure(void *arg, const struct directory_erasure *d)
{
    struct cluster_erase *e = arg;
    struct directory_member self;
    memcpy(e->at, d->address.p, d->address.n);
    e->at[d->address.n] = '\0';
    if (!cluster_own_member(e->c, &self) || directory_erasure_done(d, self.id))
        return 0;
    memcpy(e->address, e->at, sizeof e->address);
    e->id = d->id;
    return 1;
}

void cluster_erase_tick(struct cluster *c, int64_t now)
{
    struct cluster_erase *e = c->erase;
    int step = atomic_load(&e->step);
    if (now < e->turn_ms || step == STEP_BUSY || c->agent == NULL || atomic_load(&e->closed))
        return;
    e->turn_ms = now + TURN_MS;
    if (step == STEP_ERASED) {
        tell(e);
        return;
    }
    char after[sizeof e->at];
    memcpy(after, e->at, sizeof after);
    if (directory_erasure_each(c->m, span_str(after), on_erasure, e) == 0) {
        e->turn_ms = after[0] == '\0' ? now + TURN_MS : now + AGAIN_MS; /* all were looked at */
        e->at[0] = '\0';
        return;
    }
    e->job.run = run_job;
    atomic_store(&e->step, STEP_BUSY);
    if (auth_pool_push(c->node->signers, &e->job) != 0)
        atomic_store(&e->step, STEP_FREE);
}

/* ---- mail that comes from another node ----------------------------------------------------------------- */

struct again {
    const struct envelope *env;
    char text[COMMAND_NAME_MAX]; /* the address that was found */
    size_t len;
};

static int on_open(void *arg, const struct directory_erasure *d)
{
    struct again *a = arg;
    const struct envelope *e = a->env;
    bool of_it = span_eq_nocase(e->mail_from, d->address) || span_eq_nocase(e->account, d->address);
    for (uint32_t i = 0; i < e->nrcpts && !of_it; i++)
        of_it = span_eq_nocase(e->rcpts[i].address, d->address);
    if (!of_it)
        return 0;
    memcpy(a->text, d->address.p, d->address.n);
    a->len = d->address.n;
    return 1;
}

/* (!) Before the other node hears that the mail is here: it has it, too, until then, and so has not said that
 * it has done its part, which is why the request is still there. It is asked for anew, since this node may
 * have said so, or be about to. */
int cluster_erase_again(struct cluster *c, const struct envelope *env)
{
    struct again a = { .env = env };
    char after[COMMAND_NAME_MAX];
    for (;;) {
        struct machine *m = cluster_machine(c);
        memcpy(after, a.text, a.len);
        machine_read_lock(m);
        int found = directory_erasure_each(m, span_of(after, a.len), on_open, &a);
        machine_read_unlock(m);
        if (found == 0)
            return 0;
        struct command cmd = { .type = COMMAND_ERASE_ADD,
                               .erase = { .by = { .who = SPAN_LIT("transfer"), .wall_ms = clock_wall_ms() },
                                          .address = span_of(a.text, a.len) } };
        struct machine_result r;
        struct admin_error e;
        int err = cluster_submit(c->node, NULL, &cmd, &r, &e);
        if (err != 0 && err != ERR_EXISTS) /* an account again: it is not erased, as things are */
            return err;
    }
}
