/* The giver's thread: batches on their way to other nodes, one step after another. */
#include "base/clock.h"
#include "base/cond.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/look.h"
#include "node/core/transfer_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define ASK_MS 10000
#define AGAIN_MS 100  /* between two looks at the log */
#define RETRY_MS 500  /* after a step that failed */
#define TRY_MS 10000  /* of a taker that does not answer; then the log is asked to let it stay */
#define SHUN_MS 10000 /* how long no other batch is offered to it */
#define IDLE_MS 250
#define PEERS_MAX 64
#define DRAIN_LOOK_MS 500 /* between two looks at all that is queued */

struct give *transfer_give_new(struct transfer *t, struct spool *spool, uint64_t giver, uint64_t taker)
{
    struct give *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    (void)t;
    b->spool = spool;
    b->giver = giver;
    b->taker = taker;
    b->since_ms = clock_wall_ms();
    b->from_ms = clock_boot_ms();
    ensure(getrandom(b->id, sizeof b->id, 0) == (ssize_t)sizeof b->id);
    return b;
}

void transfer_give_free(struct give *b)
{
    free(b);
}

static void show(struct transfer *t, struct give *b)
{
    const char *state = b->g.verdict == TRANSFER_VERDICT_OWNED       ? "moved, not yet confirmed"
                        : b->g.verdict == TRANSFER_VERDICT_CANCELLED ? "cancelled"
                        : b->own_sent                                ? "in doubt"
                        : b->g.cancel                                ? "being cancelled"
                                                                     : "being sent";
    pthread_mutex_lock(&t->lock);
    memcpy(b->shown.batch, b->id, sizeof b->id);
    b->shown.giver = b->giver;
    b->shown.taker = b->taker;
    b->shown.giving = true;
    b->shown.messages = b->n;
    b->shown.since_ms = b->since_ms;
    b->shown.state = state;
    memcpy(b->shown.trouble, b->trouble, sizeof b->trouble);
    pthread_mutex_unlock(&t->lock);
}

/* ---- sending ------------------------------------------------------------------------------------------- */

/* How an exchange with the taker went: a code of transfer_answer_code, or a negative err. */
static int exchange(struct transfer *t, struct give *b, const struct transfer_question *q)
{
    struct buf question, answer;
    struct transfer_answer a = { .code = 0 };
    buf_init(&question, TRANSFER_PIECE_BYTES + 1024);
    buf_init(&answer, 4096);
    int err = transfer_question_encode(q, &question);
    if (err == 0 && b->taker == cluster_self(t->node->cluster))
        err = transfer_ask_self(t, buf_span(&question), &answer);
    else if (err == 0)
        err = cluster_transfer_ask(t->node->cluster, b->taker, buf_span(&question), ASK_MS, &answer);
    if (err == 0)
        err = transfer_answer_decode(buf_span(&answer), &a);
    if (err != 0)
        transfer_trouble(b->trouble, b->id, "node %llu does not answer: %s", (unsigned long long)b->taker,
                         err_text(err));
    else if (a.code == TRANSFER_REFUSED)
        transfer_trouble(b->trouble, b->id, "node %llu refuses: %.*s", (unsigned long long)b->taker,
                         (int)a.words.n, a.words.p);
    buf_fini(&question);
    buf_fini(&answer);
    return err != 0 ? err : a.code;
}

struct sending {
    struct transfer *t;
    struct give *b;
    struct transfer_question q;
    struct buf piece;
};

static int send_piece(struct sending *s, bool last)
{
    s->q.piece = buf_span(&s->piece);
    s->q.last = last;
    int code = exchange(s->t, s->b, &s->q);
    s->q.offset += s->piece.len;
    buf_reset(&s->piece);
    return code;
}

static int send_bytes(struct sending *s, struct span bytes)
{
    while (bytes.n > 0) {
        size_t room = TRANSFER_PIECE_BYTES - s->piece.len, n = bytes.n < room ? bytes.n : room;
        buf_put(&s->piece, bytes.p, n);
        bytes = span_sub(bytes, n);
        if (s->piece.len < TRANSFER_PIECE_BYTES)
            continue;
        int code = send_piece(s, false);
        if (code != TRANSFER_YES)
            return code;
    }
    return buf_err(&s->piece) != 0 ? buf_err(&s->piece) : TRANSFER_YES;
}

static int send_content(struct sending *s, uint64_t id)
{
    struct spool_reader *r;
    const char *p;
    size_t n;
    int code = TRANSFER_YES, err = spool_reader_open(s->b->spool, id, &r);
    if (err != 0)
        return err;
    while (code == TRANSFER_YES && (err = spool_reader_next(r, &p, &n)) == 0 && n > 0)
        code = transfer_stops(s->t) ? ERR_CLOSED : send_bytes(s, span_of(p, n));
    spool_reader_close(r);
    return err != 0 ? err : code;
}

/* Only what carries the batch's mark goes along. */
static int send_head(struct sending *s, const struct give_msg *msg)
{
    struct spool_info *info;
    struct transfer_mark mark;
    struct buf head, length;
    int err = spool_info(s->b->spool, msg->id, &info);
    if (err != 0)
        return err;
    for (uint32_t i = 0; i < info->env.nrcpts; i++)
        if (!rcpt_state_between(info->rcpts[i].state) || !transfer_mark_parse(info->rcpts[i].reply, &mark) ||
            memcmp(mark.batch, s->b->id, sizeof mark.batch) != 0)
            info->rcpts[i].state = RCPT_MOVED;
    buf_init(&head, TRANSFER_HEAD_MAX);
    buf_init(&length, 4);
    err = transfer_head_encode(&info->env, info->rcpts, msg->theirs, &head);
    buf_put_u32(&length, (uint32_t)head.len);
    int code = err != 0 ? err : send_bytes(s, buf_span(&length));
    if (code == TRANSFER_YES)
        code = send_bytes(s, buf_span(&head));
    buf_fini(&head);
    buf_fini(&length);
    spool_info_free(info);
    return code;
}

static int send_message(struct transfer *t, struct give *b, const struct give_msg *msg)
{
    struct sending s = { .t = t, .b = b, .q = { .verb = TRANSFER_PUT, .id = msg->theirs } };
    memcpy(s.q.batch, b->id, sizeof b->id);
    buf_init(&s.piece, TRANSFER_PIECE_BYTES);
    int code = send_head(&s, msg);
    if (code == TRANSFER_YES)
        code = send_content(&s, msg->id);
    if (code == TRANSFER_YES)
        code = send_piece(&s, true);
    buf_fini(&s.piece);
    if (code == ERR_CORRUPT || code == ERR_NOT_FOUND || code == ERR_LIMIT) {
        char text[SPOOL_ID_TEXT];
        spool_id_format(msg->id, text);
        transfer_trouble(b->trouble, b->id, "%s cannot be read: %s", text, err_text(code));
        if (t->stuck.n < TRANSFER_STUCK_MAX && b->spool == t->node->spool)
            t->stuck.ids[t->stuck.n++] = msg->id;
        b->g.cancel = true;
    }
    return code;
}

static void hash_of(const struct give *b, uint8_t sha256[32])
{
    uint64_t ids[TRANSFER_BATCH_MAX];
    for (uint32_t i = 0; i < b->n; i++)
        ids[i] = b->msgs[i].theirs;
    transfer_hash(ids, b->n, sha256);
}

static int send_batch(struct transfer *t, struct give *b)
{
    struct transfer_question q = {
        .verb = TRANSFER_OFFER, .giver = b->giver, .count = b->n, .applied = b->applied
    };
    memcpy(q.batch, b->id, sizeof b->id);
    hash_of(b, q.sha256);
    int code = exchange(t, b, &q);
    for (uint32_t i = 0; code == TRANSFER_YES && i < b->n; i++) {
        b->g.exposed = true;
        code = transfer_stops(t) ? ERR_CLOSED : send_message(t, b, &b->msgs[i]);
    }
    q = (struct transfer_question){ .verb = TRANSFER_SEAL };
    memcpy(q.batch, b->id, sizeof b->id);
    return code == TRANSFER_YES ? exchange(t, b, &q) : code;
}

static void shun(struct transfer *t, uint64_t node)
{
    uint32_t i = 0;
    while (i < t->nshunned && t->shunned[i].node != node)
        i++;
    if (i == sizeof t->shunned / sizeof t->shunned[0])
        i = 0;
    t->shunned[i].node = node;
    t->shunned[i].until_ms = clock_boot_ms() + SHUN_MS;
    t->nshunned += i == t->nshunned;
}

static bool shunned(const struct transfer *t, uint64_t node)
{
    for (uint32_t i = 0; i < t->nshunned; i++)
        if (t->shunned[i].node == node && clock_boot_ms() < t->shunned[i].until_ms)
            return true;
    return false;
}

static int step_send(struct transfer *t, struct give *b)
{
    int code = send_batch(t, b);
    b->again_ms = clock_boot_ms() + AGAIN_MS;
    if (code == TRANSFER_YES) {
        b->g.sealed = true;
        b->trouble[0] = '\0';
        return 1;
    }
    if (code == TRANSFER_OWNED || code == TRANSFER_CANCELLED || transfer_stops(t))
        return 0; /* we hear of it from the log */
    b->again_ms = clock_boot_ms() + RETRY_MS;
    if (b->spool == t->node->spool)
        shun(t, b->taker);
    if (code == TRANSFER_REFUSED || clock_boot_ms() - b->from_ms > TRY_MS)
        b->g.cancel = true;
    return 0;
}

/* ---- the log ------------------------------------------------------------------------------------------- */

static int submit(struct transfer *t, struct give *b, uint8_t type)
{
    struct command cmd = { .type = type };
    struct admin_error e = { .text = "" };
    if (type == COMMAND_TRANSFER_OWN) {
        cmd.transfer_own.giver = b->giver;
        cmd.transfer_own.taker = b->taker;
        cmd.transfer_own.messages = b->n;
        memcpy(cmd.transfer_own.id, b->id, sizeof b->id);
        hash_of(b, cmd.transfer_own.sha256);
        b->own_sent = true;
        show(t, b);
    } else {
        memcpy(cmd.transfer_end.id, b->id, sizeof b->id);
    }
    int err = cluster_transfer_submit(t->node->cluster, &cmd, &e);
    b->again_ms = clock_boot_ms() + (err == 0 ? 0 : RETRY_MS);
    if (err != 0 && !transfer_stops(t))
        transfer_trouble(b->trouble, b->id, "%s", e.text);
    return err;
}

/* ---- what was decided ---------------------------------------------------------------------------------- */

static int step_moved(struct transfer *t, struct give *b)
{
    char name[64], words[128];
    int err = 0;
    transfer_member_name(t, b->taker, name);
    snprintf(words, sizeof words, "250 2.0.0 moved to node %s", name);
    for (uint32_t i = 0; err == 0 && i < b->n; i++)
        err = transfer_mark_all(t, b->spool, b->msgs[i].id, b->id, true, words);
    if (err == 0)
        err = spool_flush(b->spool);
    if (err != 0)
        return err;
    log_info("transfer", "%u messages moved to node %s", b->n, name);
    pthread_mutex_lock(&t->lock);
    t->moved += b->n;
    pthread_mutex_unlock(&t->lock);
    return 0;
}

static int step_back(struct transfer *t, struct give *b, bool restore)
{
    int err = 0;
    for (uint32_t i = 0; err == 0 && i < b->n; i++)
        err = restore ? transfer_restore(t, b, b->msgs[i].id)
                      : transfer_put_back(t, b->spool, b->msgs[i].id, b->id);
    if (err == 0)
        err = spool_flush(b->spool);
    if (err == 0)
        log_info("transfer", "%u messages stay on this node%s%s", b->n, b->trouble[0] != '\0' ? ": " : "",
                 b->trouble);
    return err;
}

static int carried_out(struct give *b, int err)
{
    b->g.recorded = err == 0;
    b->again_ms = clock_boot_ms() + (err == 0 ? 0 : RETRY_MS);
    if (err != 0)
        transfer_trouble(b->trouble, b->id, "cannot be recorded: %s", err_text(err));
    return err == 0;
}

/* A cancelled batch that was finished but for this when we were stopped: the log does not say who was to have
 * it. */
static int ask_all(struct transfer *t, struct give *b, const struct transfer_question *q)
{
    struct cluster_transfer_peer peers[PEERS_MAX];
    uint32_t n;
    int code = cluster_transfer_peers(t->node->cluster, peers, PEERS_MAX, &n);
    for (uint32_t i = 0; code >= 0 && code != TRANSFER_NOT_YET && i < n; i++) {
        b->taker = peers[i].node;
        code = exchange(t, b, q);
    }
    b->taker = 0;
    return code == 0 ? TRANSFER_YES : code;
}

static int step_ask(struct transfer *t, struct give *b)
{
    struct transfer_question q = { .verb = TRANSFER_SETTLED };
    memcpy(q.batch, b->id, sizeof b->id);
    int code = b->taker != 0 ? exchange(t, b, &q) : ask_all(t, b, &q);
    b->g.settled = code == TRANSFER_YES;
    b->again_ms = clock_boot_ms() + (code == TRANSFER_NOT_YET ? AGAIN_MS : RETRY_MS);
    return b->g.settled;
}

int transfer_give_step(struct transfer *t, struct give *b)
{
    struct directory_transfer d;
    int step = 0;
    b->g.verdict = transfer_verdict(t, b->id, NULL, &d);
    b->g.taker_present = b->taker == 0 || transfer_member_present(t, b->taker);
    pthread_mutex_lock(&t->lock);
    b->g.cancel = b->g.cancel || b->cancel_asked;
    pthread_mutex_unlock(&t->lock);
    switch (transfer_give_next(&b->g)) {
    case TRANSFER_GIVE_SEND:
        step = step_send(t, b);
        break;
    case TRANSFER_GIVE_OWN:
        step = submit(t, b, COMMAND_TRANSFER_OWN) == 0;
        break;
    case TRANSFER_GIVE_CANCEL:
        step = submit(t, b, COMMAND_TRANSFER_CANCEL) == 0;
        break;
    case TRANSFER_GIVE_KEEP:
        step = carried_out(b, step_back(t, b, false)) ? -1 : 0;
        break;
    case TRANSFER_GIVE_MOVED:
        step = carried_out(b, step_moved(t, b));
        break;
    case TRANSFER_GIVE_RESTORE:
        step = carried_out(b, step_back(t, b, true));
        break;
    case TRANSFER_GIVE_ASK:
        step = step_ask(t, b);
        break;
    case TRANSFER_GIVE_END:
        step = submit(t, b, COMMAND_TRANSFER_END) == 0 ? -1 : 0;
        break;
    }
    show(t, b);
    return step;
}

/* ---- new batches --------------------------------------------------------------------------------------- */

static bool underway(const struct transfer *t, uint64_t taker)
{
    LIST_EACH(link, &t->gives)
    {
        const struct give *b = LIST_ITEM(link, struct give, link);
        if (b->taker == taker && b->g.verdict == TRANSFER_UNDECIDED)
            return true;
    }
    return false;
}

static bool is_picked(const struct transfer *t, uint64_t id)
{
    LIST_EACH(link, &t->gives)
    {
        const struct give *b = LIST_ITEM(link, struct give, link);
        for (uint32_t i = 0; i < b->n; i++)
            if (b->msgs[i].id == id)
                return true;
    }
    return false;
}

static void begin(struct transfer *t, uint64_t taker, const uint64_t *ids, uint32_t n)
{
    struct give *b = transfer_give_new(t, t->node->spool, cluster_self(t->node->cluster), taker);
    struct machine *m = cluster_machine(t->node->cluster);
    if (b == NULL)
        return;
    transfer_pick(t, b, ids, n);
    machine_read_lock(m);
    b->applied = machine_applied(m);
    machine_read_unlock(m);
    if (b->n == 0) {
        transfer_give_free(b);
        return;
    }
    show(t, b);
    pthread_mutex_lock(&t->lock);
    list_push_back(&t->gives, &b->link);
    t->ngives++;
    pthread_mutex_unlock(&t->lock);
    if (spool_flush(t->node->spool) != 0) /* the spool has failed: the next start finds it, or does not */
        b->again_ms = INT64_MAX;
}

/* What was asked for by name: as many as one node is to get, in the order that they came. */
static void begin_wanted(struct transfer *t)
{
    struct want mine[TRANSFER_BATCH_MAX];
    uint64_t ids[TRANSFER_BATCH_MAX], node = 0;
    uint32_t n = 0;
    size_t kept = 0;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < t->nwants; i++) {
        struct want w = t->wants[i];
        if (node == 0 && !underway(t, w.node))
            node = w.node;
        if (w.node == node && n < TRANSFER_BATCH_MAX) {
            ids[n] = w.id;
            mine[n++] = w;
        } else {
            t->wants[kept++] = w;
        }
    }
    t->nwants = kept;
    pthread_mutex_unlock(&t->lock);
    if (n == 0 || !transfer_member_present(t, node))
        return;
    begin(t, node, ids, n);
    int64_t now = clock_boot_ms();
    for (uint32_t i = 0; i < n; i++) { /* in a transaction just now */
        bool there = spool_find(t->node->spool, ids[i]) == ids[i] && !is_picked(t, ids[i]);
        if (there && now < mine[i].until_ms)
            (void)transfer_want(t, &mine[i]);
    }
}

/* All that has an item here; what is left of the last look first. */
static bool drain_fill(struct transfer *t, uint32_t able)
{
    struct look_ids ids;
    if (t->drain.at < t->drain.n)
        return true;
    if (clock_boot_ms() < t->drain.again_ms || look_ids(t->node, NULL, 0, &ids) != 0)
        return false;
    free(t->drain.ids);
    t->drain.again_ms = clock_boot_ms() + DRAIN_LOOK_MS;
    t->drain.ids = ids.ids;
    t->drain.n = ids.n;
    t->drain.at = 0;
    t->drain.share = (ids.n + able - 1) / able;
    if (t->drain.share > TRANSFER_BATCH_MAX)
        t->drain.share = TRANSFER_BATCH_MAX;
    return ids.n > 0;
}

/* Everything, evenly. */
static void begin_drain(struct transfer *t)
{
    struct cluster_transfer_peer peers[PEERS_MAX];
    uint32_t n, able = 0;
    if (cluster_transfer_peers(t->node->cluster, peers, PEERS_MAX, &n) != 0)
        return;
    for (uint32_t i = 0; i < n; i++)
        if (peers[i].active && !shunned(t, peers[i].node) && !underway(t, peers[i].node))
            peers[able++] = peers[i];
    if (able == 0 || !drain_fill(t, able))
        return;
    for (uint32_t k = 0; k < able && t->drain.at < t->drain.n && !transfer_stops(t); k++) {
        size_t left = t->drain.n - t->drain.at, share = left < t->drain.share ? left : t->drain.share;
        begin(t, peers[(t->drain.turn + k) % able].node, &t->drain.ids[t->drain.at], (uint32_t)share);
        t->drain.at += share;
    }
    t->drain.turn++;
}

static bool is_draining(struct transfer *t)
{
    struct directory_member mb;
    struct machine *m = cluster_machine(t->node->cluster);
    machine_read_lock(m);
    bool draining =
        directory_member_find(m, cluster_self(t->node->cluster), &mb) && mb.state == COMMAND_MEMBER_DRAINING;
    machine_read_unlock(m);
    return draining;
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

static void run_steps(struct transfer *t)
{
    LIST_EACH_SAFE(link, &t->gives)
    {
        struct give *b = LIST_ITEM(link, struct give, link);
        int step = 1;
        if (b->giver == 0) { /* it was found while the spool was being opened */
            b->giver = cluster_self(t->node->cluster);
            b->spool = t->node->spool;
        }
        while (step == 1 && !transfer_stops(t) && clock_boot_ms() >= b->again_ms)
            step = transfer_give_step(t, b);
        if (step != -1)
            continue;
        pthread_mutex_lock(&t->lock);
        list_remove(&b->link);
        t->ngives--;
        pthread_mutex_unlock(&t->lock);
        transfer_give_free(b);
    }
}

struct unfinished {
    struct transfer *t;
    uint64_t self;
};

static int add_unfinished(void *arg, const struct directory_transfer *d)
{
    struct unfinished *u = arg;
    bool known = d->giver != u->self;
    LIST_EACH(link, &u->t->gives)
    known = known || memcmp(LIST_ITEM(link, struct give, link)->id, d->id, sizeof d->id) == 0;
    struct give *b = known ? NULL : transfer_give_new(u->t, u->t->node->spool, u->self, d->taker);
    if (b == NULL)
        return 0;
    memcpy(b->id, d->id, sizeof b->id);
    b->g.exposed = b->g.recorded = true;
    pthread_mutex_lock(&u->t->lock);
    list_push_back(&u->t->gives, &b->link);
    u->t->ngives++;
    pthread_mutex_unlock(&u->t->lock);
    return 0;
}

/* What the log still has of ours though nothing here is marked any more: it was carried out, and is to be
 * ended. */
static void find_unfinished(struct transfer *t)
{
    struct unfinished u = { t, cluster_self(t->node->cluster) };
    struct machine *m = cluster_machine(t->node->cluster);
    machine_read_lock(m);
    (void)directory_transfer_each(m, add_unfinished, &u);
    machine_read_unlock(m);
    LIST_EACH(link, &t->gives)
    show(t, LIST_ITEM(link, struct give, link));
}

static void nap(struct transfer *t, int64_t ms)
{
    int64_t until = clock_mono_ns() + ms * 1000000;
    pthread_mutex_lock(&t->lock);
    if (!t->stopping)
        cond_wait_until(&t->give_wake, &t->lock, until);
    pthread_mutex_unlock(&t->lock);
}

void *transfer_giver_main(void *arg)
{
    struct transfer *t = arg;
    bool synced = false;
    while (!transfer_stops(t)) {
        if (cluster_machine(t->node->cluster) == NULL) {
            nap(t, IDLE_MS);
            continue;
        }
        /* The state that a start begins with is an old one. */
        if (!synced && cluster_transfer_barrier(t->node->cluster) == 0) {
            find_unfinished(t);
            synced = true;
        }
        if (synced) {
            run_steps(t);
            pthread_mutex_lock(&t->lock);
            bool wanted = t->nwants > 0 && t->ngives < TRANSFER_GIVES_MAX;
            bool room = t->ngives < TRANSFER_GIVES_MAX;
            pthread_mutex_unlock(&t->lock);
            if (wanted)
                begin_wanted(t);
            else if (room && is_draining(t))
                begin_drain(t);
        }
        bool busy = !list_empty(&t->gives);
        nap(t, busy ? 20 : IDLE_MS);
    }
    return NULL;
}

int transfer_give_found(struct transfer *t, uint64_t id, const struct transfer_mark *mark)
{
    struct give *b = NULL;
    LIST_EACH(link, &t->gives)
    {
        struct give *one = LIST_ITEM(link, struct give, link);
        if (memcmp(one->id, mark->batch, sizeof one->id) == 0)
            b = one;
    }
    if (b == NULL) {
        b = transfer_give_new(t, NULL, 0, mark->peer);
        if (b == NULL)
            return -ENOMEM;
        memcpy(b->id, mark->batch, sizeof b->id);
        b->g.exposed = true;
        list_push_back(&t->gives, &b->link);
        t->ngives++;
    }
    for (uint32_t i = 0; i < b->n; i++)
        if (b->msgs[i].id == id)
            return 0;
    ensure(b->n < TRANSFER_BATCH_MAX);
    b->msgs[b->n++] = (struct give_msg){ id, spool_id_moved(id) };
    show(t, b);
    return 0;
}
