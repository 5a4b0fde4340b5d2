/* What spool_open does with what it finds: reads summaries and segments in the order of their numbers,
 * rebuilds the messages in memory, has them and the endings told (tell.c), and rewrites the tails that an
 * earlier process left unsealed. Runs on the thread that opens, before there are others (so nothing here
 * takes the lock, but for what is shared with them).
 */
#include "spool/recover.h"

#include "base/ensure.h"
#include "base/err.h"
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- findings ------------------------------------------------------------------------------------------ */

static void note(struct recovery *rc, bool damage, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void note(struct recovery *rc, bool damage, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    rc->s->stats.corrupt_records += damage;
    if (rc->note != NULL)
        rc->note(rc->note_ctx, damage, text);
    else
        log_line(damage ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, SPOOL_AREA, "%s", text);
}

/* ---- records ------------------------------------------------------------------------------------------- */

/* A message whose commit was not read yet; it takes the place of `smaller`, if that is one that knew of fewer
 * recipients. */
static int stub_make(struct recovery *rc, uint64_t id, uint32_t nrcpts, struct msg *smaller, struct msg **out)
{
    struct spool *s = rc->s;
    struct msg *m = msg_new(id, nrcpts, RCPT_QUEUED);
    if (m == NULL)
        return -ENOMEM;
    m->flags = MSG_STUB;
    rc->stubs += smaller == NULL;
    if (smaller != NULL) {
        struct msg_rcpt *rcpts = m->rcpts;
        memcpy(rcpts, smaller->rcpts, smaller->nrcpts * sizeof *rcpts);
        m->state_segment = smaller->state_segment;
        m->full_segment = smaller->full_segment;
        m->state_bytes = smaller->state_bytes;
        index_remove(s, smaller);
        smaller->nrcpts = 0; /* its replies moved */
        msg_free(s, smaller);
    }
    int err = index_add(s, m);
    if (err != 0) {
        msg_free(s, m);
        return err;
    }
    *out = m;
    return 0;
}

/* The message of a record that does not bring its commit: known already, or to come (a copy made by
 * compaction stands behind older states). NULL without error: it is dead. */
static int msg_or_stub(struct recovery *rc, uint64_t id, uint32_t nrcpts, struct msg **out)
{
    *out = NULL;
    if (dead_find(&rc->dead, id) != NULL)
        return 0;
    struct msg *m = index_find(rc->s, id);
    if (m != NULL && m->nrcpts >= nrcpts) {
        *out = m;
        return 0;
    }
    if (m != NULL && (m->flags & MSG_STUB) == 0)
        return 0; /* names a recipient that the message has not: nothing of ours wrote that */
    return stub_make(rc, id, nrcpts, m, out);
}

/* The segment stays until the history has its endings; they are told when all is read (tell.c). */
static void note_ended(struct recovery *rc, struct segment *seg, const struct replay_record *r, bool ended)
{
    rc->unburied |= ended && r->head.type != RECORD_TOMBSTONE;
    if (!ended || (r->head.flags & RECORD_COPY) != 0)
        return;
    seg->endings = true;
    seg->ended_seq = rec_seq(r->segment, r->offset);
}

static int on_updates(struct recovery *rc, struct segment *seg, const struct replay_record *r)
{
    struct spool *s = rc->s;
    struct updates it;
    struct msg *m = NULL;
    int err = updates_open(&it, r->head.type, r->payload);
    if (err == 0)
        err = msg_or_stub(rc, r->head.id, it.nrcpts, &m);
    if (err != 0)
        return err;
    struct spool_rcpt_update u;
    bool ended = false;
    while ((err = updates_next(&it, &u)) > 0) {
        if (m != NULL)
            (void)msg_apply(s, m, &u);
        ended |= rcpt_state_terminal(u.to.state);
    }
    if (err != 0)
        return err;
    note_ended(rc, seg, r, ended);
    if (m != NULL)
        account_state(s, m, seg, record_bytes(r->head.len), (r->head.flags & RECORD_FULL) != 0);
    return 0;
}

static int on_tombstone(struct recovery *rc, struct segment *seg, const struct replay_record *r)
{
    struct spool *s = rc->s;
    struct updates it;
    int err = on_updates(rc, seg, r);
    if (err == 0)
        err = updates_open(&it, RECORD_TOMBSTONE, r->payload);
    struct msg *m = index_find(s, r->head.id);
    if (err == 0)
        err = dead_add(&rc->dead, r->head.id, m == NULL ? 0 : m->segment, m == NULL ? 0 : m->offset);
    if (err == 0)
        err = segment_tomb_add(seg, it.target, record_bytes(r->head.len));
    if (err != 0)
        return err;
    if (m != NULL) {
        /* the newest commit was elsewhere and has gone: what is here could come back to life */
        struct segment *older =
            m->segment == 0 || m->segment == it.target ? NULL : segments_find(s, m->segment);
        if (older != NULL)
            older->stale = true;
        index_remove(s, m);
        account_ended(s, m);
        msg_free(s, m);
    }
    return 0;
}

static int on_closes(struct recovery *rc, struct segment *seg, const struct replay_record *r,
                     const struct envelope *env)
{
    rc->closes |= env->ncloses > 0;
    for (uint32_t i = 0; i < env->ncloses; i++) {
        const struct envelope_close *cl = &env->closes[i];
        struct spool_rcpt_update u = {
            .rcpt = cl->rcpt, .to = { .state = cl->state, .changed_ms = env->arrival_ms, .reply = cl->reply }
        };
        struct msg *m;
        int err = msg_or_stub(rc, cl->id, cl->rcpt + 1, &m);
        if (err != 0)
            return err;
        if (m != NULL) {
            u.to.attempts = m->rcpts[cl->rcpt].attempts;
            u.to.delay_told = m->rcpts[cl->rcpt].delay_told;
            if (!msg_apply(rc->s, m, &u))
                continue;
            account_state(rc->s, m, seg, ACCOUNT_CLOSE_BYTES, false);
        }
        note_ended(rc, seg, r, true);
    }
    return 0;
}

static int extents_of(const struct commit *c, struct extents **out)
{
    *out = NULL;
    if (c->nchunks == 0)
        return 0;
    struct extents *x = malloc(sizeof *x);
    if (x == NULL)
        return -ENOMEM;
    x->n = 0;
    for (uint32_t i = 0; i < c->nchunks; i++) {
        struct chunk_loc loc = commit_chunk(c, i);
        uint32_t k = x->n;
        while (k > 0 && x->e[k - 1].segment != loc.segment)
            k--;
        if (k == 0) {
            struct extents *more = realloc(x, sizeof *x + (x->n + 1) * sizeof x->e[0]);
            if (more == NULL) {
                free(x);
                return -ENOMEM;
            }
            x = more;
            x->e[x->n].segment = loc.segment;
            x->e[x->n].bytes = 0;
            k = ++x->n;
        }
        x->e[k - 1].bytes += record_bytes(loc.len);
    }
    *out = x;
    return 0;
}

/* A living message's commit, perhaps a second time: compaction wrote a copy, and a crash came before it
 * removed the original. The one read last counts; the segment of the other goes before any other does. */
static int place_msg(struct recovery *rc, struct segment *seg, const struct replay_record *r,
                     uint32_t full_len, const struct commit *c, const struct envelope *env)
{
    struct spool *s = rc->s;
    uint8_t first = envelope_first_state(env);
    struct msg *m = index_find(s, r->head.id);
    if (m == NULL || m->nrcpts < env->nrcpts) {
        /* a stub made by a close knows no more than one recipient's index */
        if (m != NULL && (m->flags & MSG_STUB) == 0)
            return ERR_CORRUPT; /* two commits that differ */
        int err = stub_make(rc, r->head.id, env->nrcpts, m, &m);
        if (err != 0)
            return err;
    }
    if (m->nrcpts != env->nrcpts)
        return ERR_CORRUPT;
    if ((m->flags & MSG_STUB) != 0) {
        m->flags &= ~(uint32_t)MSG_STUB;
        rc->stubs--;
        for (uint32_t i = 0; i < m->nrcpts; i++)
            if (m->rcpts[i].changed_ms == 0)
                m->rcpts[i].state = first;
    }
    struct segment *before = m->segment == 0 ? NULL : segments_find(s, m->segment);
    if (before != NULL && before != seg)
        before->stale = true;
    struct extents *chunks;
    int err = extents_of(c, &chunks);
    if (err != 0)
        return err;
    account_commit(s, m, seg->number, r->offset, full_len, chunks);
    m->placed = seg->number;
    return 0;
}

static int on_commit(struct recovery *rc, struct segment *seg, const struct replay_record *r,
                     uint32_t full_len)
{
    struct commit c;
    struct envelope_decoded d;
    struct cursor cur;
    int err = commit_decode(r->payload, &c);
    if (err != 0)
        return err;
    cursor_init(&cur, c.envelope.p, c.envelope.n);
    err = envelope_decode(&cur, &d);
    if (err != 0)
        return err == ERR_TORN ? ERR_CORRUPT : err;
    err = d.env.id != r->head.id ? ERR_CORRUPT : on_closes(rc, seg, r, &d.env);
    if (err == 0 && dead_find(&rc->dead, r->head.id) != NULL) {
        seg->stale = true; /* a copy that compaction left; see on_tombstone */
        err = dead_add(&rc->dead, r->head.id, seg->number, r->offset);
    } else if (err == 0) {
        err = place_msg(rc, seg, r, full_len, &c, &d.env);
    }
    envelope_decoded_fini(&d);
    return err;
}

static int on_record(struct recovery *rc, struct segment *seg, const struct replay_record *r,
                     uint32_t full_len)
{
    int err = 0;
    switch (r->head.type) {
    case RECORD_COMMIT:
        err = on_commit(rc, seg, r, full_len);
        break;
    case RECORD_STATE:
        err = on_updates(rc, seg, r);
        break;
    case RECORD_TOMBSTONE:
        err = on_tombstone(rc, seg, r);
        break;
    default:
        break;
    }
    if (err != ERR_CORRUPT && err != ERR_TORN)
        return err;
    note(rc, true, "segment %08x: DAMAGED: the record at %u makes no sense; it is skipped", seg->number,
         r->offset);
    return 0;
}

/* ---- segments ------------------------------------------------------------------------------------------ */

static int summary_record(void *ctx, const struct replay_record *r, uint32_t full_len)
{
    struct recovery *rc = ctx;
    return on_record(rc, rc->seg, r, full_len);
}

/* A commit in the torn part of a segment may have lost chunks of its own batch: then it is not there either,
 * and an original that it is a copy of still counts. */
static bool chunks_whole(struct recovery *rc, const struct replay_record *r)
{
    struct spool *s = rc->s;
    struct commit c;
    uint8_t *buf = NULL;
    bool whole = commit_decode(r->payload, &c) == 0;
    for (uint32_t i = 0; whole && i < c.nchunks; i++) {
        struct chunk_loc loc = commit_chunk(&c, i);
        struct segment *seg = segments_find(s, loc.segment);
        if (seg == NULL || loc.len > CHUNK_PREFIX_BYTES + CHUNK_RAW_MAX) {
            whole = false;
            break;
        }
        if (!seg->earlier)
            continue; /* on disk before the segment of this commit was made */
        if (buf == NULL)
            buf = malloc(RECORD_HEAD_BYTES + CHUNK_PREFIX_BYTES + CHUNK_RAW_MAX);
        int fd = buf == NULL ? -ENOMEM : segment_hold(s, seg);
        whole = fd >= 0 && segment_read(s, seg, fd, loc.offset, RECORD_CHUNK, r->head.id, loc.len,
                                        buf + RECORD_HEAD_BYTES) == 0;
        if (fd >= 0)
            segment_rele(s, seg);
    }
    free(buf);
    return whole;
}

static int segment_record(void *ctx, const struct replay_record *r)
{
    struct recovery *rc = ctx;
    if (r->head.type == RECORD_COMMIT && rc->seg->earlier && r->offset >= rc->seg->synced &&
        !chunks_whole(rc, r)) {
        note(rc, false, "segment %08x: an unanswered message at %u lost its chunks; it is dropped",
             rc->seg->number, r->offset);
        return 0;
    }
    return on_record(rc, rc->seg, r, r->head.len);
}

static void say_bad(void *ctx, uint32_t segment, uint64_t from, uint64_t to, bool damage)
{
    struct recovery *rc = ctx;
    if (damage)
        note(rc, true,
             "segment %08x: DAMAGED from %llu to %llu; what was recorded there is lost, the rest is kept",
             segment, (unsigned long long)from, (unsigned long long)to);
    else
        note(rc, false, "segment %08x: torn from %llu to %llu; nothing there was ever answered", segment,
             (unsigned long long)from, (unsigned long long)to);
}

static void note_ids(struct recovery *rc, uint64_t id_floor, uint64_t batch)
{
    if (id_floor > rc->s->last_id)
        rc->s->last_id = id_floor;
    if (batch > rc->s->batch_number)
        rc->s->batch_number = batch;
}

static int load_summary(struct recovery *rc, struct segment *seg)
{
    char path[SPOOL_PATH_MAX];
    struct summary m;
    segment_path(rc->s, seg->number, "sum", path);
    int err = summary_load(rc->s->disk, path, seg->number, &m);
    if (err != 0) {
        if (err != ERR_NOT_FOUND)
            note(rc, false, "summary of segment %08x: %s; the segment is read instead", seg->number,
                 err_text(err));
        return ERR_NOT_FOUND;
    }
    if (rc->verify) {
        summary_unload(&m);
        return ERR_NOT_FOUND;
    }
    seg->salt = m.salt;
    seg->size = m.end;
    seg->sealed = seg->summarised = true;
    rc->seg = seg;
    note_ids(rc, m.id_floor, m.batch);
    err = summary_each(&m, summary_record, rc);
    summary_unload(&m);
    return err;
}

/* Reads a segment that has no summary: once to learn how far it was synced and whether it is sealed, and
 * again to take its records. */
static int load_segment(struct recovery *rc, struct segment *seg)
{
    struct spool *s = rc->s;
    int fd = segment_hold(s, seg);
    if (fd < 0)
        return fd;
    struct replay r = { .disk = s->disk, .fd = fd, .number = seg->number, .bad = say_bad, .ctx = rc };
    int err = replay_run(&r);
    if (err == 0 && !r.unborn && !r.headless) {
        seg->salt = r.header.salt;
        seg->size = r.end;
        seg->earlier = !r.sealed;
        seg->sealed = true; /* nothing is ever appended to it */
        rc->seg = seg;
        seg->synced = r.synced;
        note_ids(rc, r.id_floor, r.batch);
        r.fn = segment_record;
        r.bad = NULL;
        err = replay_run(&r);
    } else if (err == 0 && r.headless) {
        note(rc, true, "segment %08x: DAMAGED: its header is gone; what it holds is lost", seg->number);
    }
    segment_rele(s, seg);
    rc->records += r.records;
    rc->torn += r.torn;
    if (err != 0)
        return err;
    if (r.unborn || r.headless) {
        char path[SPOOL_PATH_MAX];
        segment_path(s, seg->number, "seg", path);
        segments_remove(s, seg);
        if (r.unborn && !rc->verify) /* its making did not finish, so nothing in it was ever answered */
            (void)s->disk->unlink(s->disk->ctx, path);
    } else if (seg->earlier && !rc->verify) {
        log_info(SPOOL_AREA, "segment %08x was not sealed; what lives behind %llu of %llu is written again",
                 seg->number, (unsigned long long)seg->synced, (unsigned long long)seg->size);
    }
    return 0;
}

/* Stubs: states of messages whose commit is gone, so they ended and their segment was removed. */
static void drop_stubs(struct spool *s)
{
    uint64_t n = 0, cap = 0;
    struct msg **stubs = NULL;
    uint32_t shard = 0;
    size_t at = 0;
    for (struct msg *m; (m = index_next(s, &shard, &at)) != NULL;) {
        if ((m->flags & MSG_STUB) == 0)
            continue;
        if (n == cap) {
            cap = cap == 0 ? 64 : cap * 2;
            struct msg **more = realloc(stubs, cap * sizeof(struct msg *));
            if (more == NULL)
                break; /* they stay invisible and cost memory only */
            stubs = more;
        }
        stubs[n++] = m;
    }
    for (uint64_t i = 0; i < n; i++) {
        index_remove(s, stubs[i]);
        account_ended(s, stubs[i]);
        msg_free(s, stubs[i]);
    }
    free(stubs);
}

/* Messages that ended by several records, none a tombstone (the last recipients were closed by a report, and
 * the crash came before the tombstone): it is written now. */
static int bury(struct spool *s)
{
    for (;;) {
        struct msg *some[256];
        uint32_t n = 0;
        uint32_t shard = 0;
        size_t at = 0;
        for (struct msg *m; n < 256 && (m = index_next(s, &shard, &at)) != NULL;)
            if (msg_all_terminal(m))
                some[n++] = m;
        for (uint32_t i = 0; i < n; i++) {
            int err = tombstone_queue(s, some[i]);
            if (err != 0)
                return err;
        }
        if (n < 256)
            return 0;
    }
}

/* The tail of an unsealed segment may be in the page cache only, and be lost yet: all of it that lives is
 * written again. What stands before `synced` was on disk when a later batch was written, so it waits for
 * compaction, which takes such a segment before any other. Commits first, and synced: what a report in the
 * tail closed must not outlive the report. */
static int rewrite_unsealed(struct spool *s, enum copy_what what)
{
    /* the table grows while copying: by number, not by place */
    uint32_t upto = s->active->number;
    for (uint32_t i = 0; i < s->nsegments && s->segments[i]->number < upto; i++) {
        struct segment *seg = s->segments[i];
        if (!seg->earlier)
            continue;
        int err = compact_copy(s, seg, what, seg->synced);
        if (err != 0)
            return err;
    }
    return spool_flush(s);
}

static int each_name(void *arg, const char *name)
{
    struct recovery *rc = arg;
    struct spool *s = rc->s;
    unsigned number;
    char tail[16];
    char path[SPOOL_PATH_MAX];
    if (sscanf(name, "%8x.%15s", &number, tail) != 2)
        return 0;
    if (number >= s->next_segment)
        s->next_segment = number + 1;
    if (strcmp(tail, "sum.tmp") == 0 && !rc->verify) {
        segment_path(s, number, tail, path);
        (void)s->disk->unlink(s->disk->ctx, path);
        return 0;
    }
    if (strcmp(tail, "seg") != 0)
        return 0;
    struct segment *seg = segment_new(number);
    int err = seg == NULL ? -ENOMEM : segments_add(s, seg);
    if (err != 0)
        free(seg);
    return err;
}

static int load_all(struct recovery *rc)
{
    struct spool *s = rc->s;
    for (uint32_t i = 0; i < s->nsegments;) {
        struct segment *seg = s->segments[i];
        int err = load_summary(rc, seg);
        if (err == ERR_NOT_FOUND)
            err = load_segment(rc, seg);
        if (err != 0) {
            log_error(SPOOL_AREA, "segment %08x: %s", seg->number, err_text(err));
            return err;
        }
        if (i < s->nsegments && s->segments[i] == seg)
            i++;
    }
    return 0;
}

/* A summary that outlived its segment: a crash came between the two removals. */
static int each_orphan(void *arg, const char *name)
{
    struct recovery *rc = arg;
    struct spool *s = rc->s;
    unsigned number;
    char tail[16];
    char path[SPOOL_PATH_MAX];
    if (sscanf(name, "%8x.%15s", &number, tail) == 2 && strcmp(tail, "sum") == 0 &&
        segments_find(s, number) == NULL) {
        segment_path(s, number, tail, path);
        (void)s->disk->unlink(s->disk->ctx, path);
    }
    return 0;
}

int recovery_load(struct recovery *rc)
{
    rc->s->next_segment = 1;
    int err = rc->s->disk->list(rc->s->disk->ctx, rc->s->dir, each_name, rc);
    if (err == 0)
        err = load_all(rc);
    if (err == 0 && rc->stubs > 0)
        drop_stubs(rc->s);
    return err;
}

void recovery_fini(struct recovery *rc)
{
    dead_fini(&rc->dead);
    recovery_tell_fini(rc);
}

int recover(struct spool *s, spool_found_fn *found, void *ctx)
{
    struct recovery rc = { .s = s, .found = found, .found_ctx = ctx };
    int err = recovery_load(&rc);
    for (uint32_t i = 0; err == 0 && i < s->nsegments; i++)
        err = recovery_tell(&rc, s->segments[i]);
    recovery_fini(&rc);
    if (err == 0)
        err = s->disk->list(s->disk->ctx, s->dir, each_orphan, &rc);
    if (err == 0)
        err = segment_create(s);
    if (err == 0)
        err = rewrite_unsealed(s, COPY_COMMITS);
    if (err == 0 && rc.unburied)
        err = bury(s);
    if (err == 0)
        err = rewrite_unsealed(s, COPY_STATES);
    if (err == 0 && s->nsegments > 1)
        log_info(SPOOL_AREA, "%llu messages in %u segments, %llu damaged records",
                 (unsigned long long)s->messages, s->nsegments - 1,
                 (unsigned long long)s->stats.corrupt_records);
    return err;
}
