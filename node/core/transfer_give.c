/* A batch on its way to another node, one step after another. The giver's thread, but for what is said
 * otherwise.
 */
#include "base/clock.h"
#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"
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

struct give *transfer_give_new(struct spool *spool, uint64_t giver, uint64_t taker)
{
    struct give *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
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

void transfer_give_show(struct transfer *t, struct give *b)
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

bool transfer_give_shunned(const struct transfer *t, uint64_t node)
{
    for (uint32_t i = 0; i < t->nshunned; i++)
        if (t->shunned[i].node == node && clock_boot_ms() < t->shunned[i].until_ms)
            return true;
    return false;
}

/* (!) Nobody is offered what a crash would bring back into the queues here. A disk that is full for a while must not keep
 * it in between: it is tried again, and then stays. */
static int step_mark(struct give *b)
{
    int err = spool_flush(b->spool);
    b->g.unmarked = err != 0;
    if (err == 0)
        return 1;
    transfer_trouble(b->trouble, b->id, "that it leaves cannot be recorded: %s", err_text(err));
    b->again_ms = clock_boot_ms() + RETRY_MS;
    b->g.cancel = b->g.cancel || clock_boot_ms() - b->from_ms > TRY_MS;
    return 0;
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
        transfer_give_show(t, b);
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
    struct cluster_transfer_peer peers[TRANSFER_PEERS_MAX];
    uint32_t n;
    int code = cluster_transfer_peers(t->node->cluster, peers, TRANSFER_PEERS_MAX, &n);
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
    case TRANSFER_GIVE_MARK:
        step = step_mark(b);
        break;
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
    transfer_give_show(t, b);
    return step;
}
