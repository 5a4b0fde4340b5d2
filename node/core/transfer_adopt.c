/* Takes in the spool of a dead node, as if that node gave its mail away itself: each batch is marked in its
 * own folder, stored here, and becomes ours by the log; so a second try, after a crash of any of it, takes
 * nothing twice. What was between two nodes when it died is decided by the log. An admin thread.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/transfer_impl.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#define LOOK_MS 10

struct adopting {
    struct transfer *t;
    struct spool *from;
    uint64_t node;
    uint64_t *ids;
    size_t n, cap;
    struct give *b;
    uint64_t bytes;
    struct transfer_adopted *out;
    struct admin_error *e;
};

static int found_cb(void *ctx, const struct envelope *env, const struct spool_rcpt *rcpts)
{
    struct adopting *a = ctx;
    (void)rcpts;
    if (a->n == a->cap) {
        size_t cap = a->cap == 0 ? 1024 : a->cap * 2;
        uint64_t *ids = realloc(a->ids, cap * sizeof *ids);
        if (ids == NULL)
            return -ENOMEM;
        a->ids = ids;
        a->cap = cap;
    }
    a->ids[a->n++] = env->id;
    return 0;
}

/* ---- whose it is --------------------------------------------------------------------------------------- */

enum fate { OURS, ELSEWHERE, DOUBT };

static enum fate of_verdict(enum transfer_verdict v, enum fate otherwise)
{
    return v == TRANSFER_VERDICT_OWNED ? ELSEWHERE : v == TRANSFER_VERDICT_CANCELLED ? OURS : otherwise;
}

/* It was about to be another node's. */
static enum fate fate_of_leaving(struct adopting *a, const struct transfer_mark *mark)
{
    struct transfer *t = a->t;
    struct directory_transfer d;
    enum fate fate = of_verdict(transfer_verdict(t, mark->batch, NULL, &d), DOUBT);
    if (fate != DOUBT || !transfer_member_present(t, mark->peer))
        return fate == DOUBT ? OURS : fate; /* the log gives nothing to a node that is none */
    if (mark->peer == cluster_self(t->node->cluster)) {
        int code = transfer_ask(t, mark->peer, TRANSFER_TAKE, mark->batch);
        if (code == TRANSFER_REFUSED) /* parts of it: they are of no use, since all of it comes again */
            code = transfer_ask(t, mark->peer, TRANSFER_DROP, mark->batch) == TRANSFER_YES ? TRANSFER_AGAIN
                                                                                           : code;
        return code == TRANSFER_YES ? ELSEWHERE : code == TRANSFER_AGAIN ? OURS : DOUBT;
    }
    if (transfer_ask(t, mark->peer, TRANSFER_SETTLED, mark->batch) != TRANSFER_YES)
        return DOUBT;
    /* It has nothing inert of it: it never had, or it is the owner since a moment ago. */
    if (cluster_transfer_barrier(t->node->cluster) != 0)
        return DOUBT;
    return of_verdict(transfer_verdict(t, mark->batch, NULL, &d), OURS);
}

/* It came from another node: the dead one's only if the log says so, since it says nothing of it any more. */
static enum fate fate_of_inert(struct adopting *a, const struct transfer_mark *mark)
{
    struct directory_transfer d;
    bool owned = transfer_verdict(a->t, mark->batch, NULL, &d) == TRANSFER_VERDICT_OWNED;
    return owned && d.taker == a->node ? OURS : ELSEWHERE;
}

static enum fate fate_of(struct adopting *a, const struct spool_rcpt *r, uint64_t *hops)
{
    struct transfer_mark mark;
    bool inert = r->state == RCPT_INERT || r->state == RCPT_INERT_HELD;
    *hops = 1;
    if (!rcpt_state_between(r->state))
        return OURS;
    if (!transfer_mark_parse(r->reply, &mark))
        return inert ? ELSEWHERE : DOUBT;
    if (inert)
        return fate_of_inert(a, &mark);
    *hops = mark.n + 1; /* the names that were used for it may be those of copies that ended */
    return fate_of_leaving(a, &mark);
}

/* ---- one message --------------------------------------------------------------------------------------- */

struct marks {
    struct spool_rcpt_update *u;
    char (*texts)[TRANSFER_REPLY_MAX];
    uint32_t n, ours;
    bool doubt;
};

static bool readable(struct spool *s, uint64_t id)
{
    struct spool_reader *r;
    const char *p;
    size_t n = 0;
    int err = spool_reader_open(s, id, &r);
    if (err != 0)
        return false;
    while ((err = spool_reader_next(r, &p, &n)) == 0 && n > 0)
        ;
    spool_reader_close(r);
    return err == 0;
}

static void decide(struct adopting *a, const struct spool_info *info, struct marks *m, uint64_t *hops)
{
    enum fate *fates = calloc(info->env.nrcpts, sizeof *fates);
    m->doubt = fates == NULL;
    *hops = 1;
    for (uint32_t i = 0; !m->doubt && i < info->env.nrcpts; i++) {
        uint64_t more;
        if (rcpt_state_terminal(info->rcpts[i].state))
            continue;
        fates[i] = fate_of(a, &info->rcpts[i], &more);
        *hops = more > *hops ? more : *hops;
        m->doubt = fates[i] == DOUBT;
    }
    for (uint32_t i = 0; !m->doubt && i < info->env.nrcpts; i++) {
        const struct spool_rcpt *r = &info->rcpts[i];
        struct transfer_mark mark = { .rest = r->reply };
        if (rcpt_state_terminal(r->state))
            continue;
        (void)transfer_mark_parse(r->reply, &mark);
        bool held = r->state == RCPT_HELD || r->state == RCPT_LEAVING_HELD || r->state == RCPT_INERT_HELD;
        struct spool_rcpt_update *u = &m->u[m->n++];
        *u = (struct spool_rcpt_update){ .rcpt = i, .to = *r };
        u->to.changed_ms = clock_wall_ms();
        m->ours += fates[i] == OURS;
        if (fates[i] == OURS) {
            u->to.state = held ? RCPT_LEAVING_HELD : RCPT_LEAVING;
            u->to.reply =
                transfer_mark_format(a->b->id, a->b->taker, *hops,
                                     rcpt_state_between(r->state) ? mark.rest : r->reply, m->texts[i]);
        } else {
            u->to.state = RCPT_MOVED;
            u->to.reply = SPAN_LIT("250 2.0.0 another node has it");
        }
    }
    free(fates);
}

static int add_message(struct adopting *a, uint64_t id)
{
    struct spool_info *info;
    struct marks m = { .n = 0 };
    uint64_t hops, theirs = id;
    if (spool_info(a->from, id, &info) != 0 || !readable(a->from, id)) {
        a->out->failed++;
        return 0;
    }
    uint32_t n = info->env.nrcpts;
    m.u = calloc(n, sizeof *m.u);
    m.texts = calloc(n, sizeof *m.texts);
    int err = m.u == NULL || m.texts == NULL ? -ENOMEM : 0;
    if (err == 0)
        decide(a, info, &m, &hops);
    for (uint64_t i = 0; err == 0 && theirs != 0 && i < hops; i++)
        theirs = spool_id_moved(theirs);
    if (err == 0 && !m.doubt && theirs != 0)
        err = spool_update(a->from, id, m.u, m.n, NULL);
    if (err == 0) {
        a->out->in_doubt += m.doubt;
        a->out->failed += !m.doubt && theirs == 0;
        a->out->elsewhere += !m.doubt && theirs != 0 && m.ours == 0;
        if (!m.doubt && theirs != 0 && m.ours > 0) {
            a->b->msgs[a->b->n++] = (struct give_msg){ id, theirs };
            a->bytes += info->env.size;
        }
    }
    free(m.u);
    free(m.texts);
    spool_info_free(info);
    return err;
}

/* ---- a batch ------------------------------------------------------------------------------------------- */

static int hand_over(struct adopting *a)
{
    int err = spool_flush(a->from), step = 1;
    a->b->g.exposed = true;
    while (err == 0 && step != -1) {
        if (clock_boot_ms() < a->b->again_ms)
            nanosleep(&(struct timespec){ .tv_nsec = LOOK_MS * 1000000 }, NULL);
        else
            step = transfer_give_step(a->t, a->b);
        bool given_up = a->b->g.cancel && a->b->g.verdict == TRANSFER_UNDECIDED;
        if (transfer_stops(a->t))
            err = admin_fail(a->e, ERR_CLOSED, "the node is stopping: adopt it again later");
        else if (given_up && !a->b->own_sent)
            err = admin_fail(a->e, ERR_FAILED, "stopped half way: %s", a->b->trouble);
    }
    if (err == 0)
        a->out->taken += a->b->n;
    return err;
}

static int adopt_all(struct adopting *a)
{
    struct transfer *t = a->t;
    int err = 0;
    a->out->messages = a->n;
    for (size_t i = 0; err == 0 && i < a->n;) {
        a->b = transfer_give_new(a->from, a->node, cluster_self(t->node->cluster));
        if (a->b == NULL)
            return -ENOMEM;
        a->bytes = 0;
        while (err == 0 && i < a->n && a->b->n < TRANSFER_BATCH_MAX && a->bytes < TRANSFER_BATCH_BYTES)
            err = add_message(a, a->ids[i++]);
        if (err == 0 && a->b->n > 0)
            err = hand_over(a);
        transfer_give_free(a->b);
    }
    return err != 0 ? err : spool_flush(a->from);
}

/* ---- the folder ---------------------------------------------------------------------------------------- */

static int check_folder(struct node *n, const char *dir, struct admin_error *e)
{
    struct stat st;
    struct config *c = node_config(n);
    char *given = realpath(dir, NULL), *own = realpath(c->spool.dir, NULL);
    int err = 0;
    config_rele(c);
    if (given == NULL || stat(given, &st) != 0 || !S_ISDIR(st.st_mode))
        err = admin_fail(e, ERR_NOT_FOUND, "%s: no such folder on this machine", dir);
    else if (own != NULL && strcmp(given, own) == 0)
        err = admin_fail(e, ERR_BAD, "%s is this node's own spool", dir);
    free(given);
    free(own);
    return err;
}

int transfer_adopt(struct node *n, const char *dir, uint64_t node, struct transfer_adopted *out,
                   struct admin_error *e)
{
    struct adopting a = { .t = n->transfer, .node = node, .out = out, .e = e };
    struct spool_config sc = { .dir = dir };
    *out = (struct transfer_adopted){ 0 };
    e->text[0] = '\0';
    int err = check_folder(n, dir, e);
    if (err != 0)
        return err;
    err = spool_open(&sc, found_cb, &a, &a.from);
    if (err != 0) {
        free(a.ids);
        return admin_fail(e, err, "%s: %s", dir,
                          err == -EWOULDBLOCK ? "a node uses it: stop that one first" : err_text(err));
    }
    err = adopt_all(&a);
    if (err == 0 && out->in_doubt + out->failed == 0) {
        struct transfer_forgotten gone; /* nobody will ask for it any more; else an operator may end it */
        struct admin_error why;
        (void)transfer_forget(n, node, &gone, &why);
    }
    if (err != 0 && e->text[0] == '\0')
        (void)admin_fail(e, err, "stopped half way: %s", err_text(err));
    spool_close(a.from);
    free(a.ids);
    return err;
}
