/* Reads a whole spool that no process has open, changes nothing and says what is wrong with it: every record
 * of every segment, every summary, and the content of every living message. Any thread.
 */
#include "spool/recover.h"

#include "base/err.h"

#include <errno.h>
#include <stdio.h>

struct verify {
    spool_verify_say_fn *say;
    void *ctx;
    uint64_t unreadable;
};

static void verify_note(void *ctx, bool damage, const char *text)
{
    struct verify *v = ctx;
    (void)damage;
    if (v->say != NULL)
        v->say(v->ctx, text);
}

static int read_through(struct spool *s, uint64_t id)
{
    struct spool_reader *r;
    const char *p;
    size_t n = 0;
    int err = spool_reader_open(s, id, &r);
    if (err != 0)
        return err;
    do
        err = spool_reader_next(r, &p, &n);
    while (err == 0 && n > 0);
    spool_reader_close(r);
    return err;
}

static void check_messages(struct spool *s, struct verify *v)
{
    uint32_t shard = 0;
    size_t at = 0;
    for (struct msg *m; (m = index_next(s, &shard, &at)) != NULL;) {
        int err = read_through(s, m->id);
        if (err == 0)
            continue;
        char id[SPOOL_ID_TEXT], text[128];
        spool_id_format(m->id, id);
        snprintf(text, sizeof text, "message %s: DAMAGED: its content cannot be read: %s", id, err_text(err));
        v->unreadable++;
        verify_note(v, true, text);
    }
}

int spool_verify(const char *dir, const struct disk *disk, spool_verify_say_fn *say, void *ctx,
                 struct spool_verify_result *out)
{
    struct spool *s;
    struct verify v = { .say = say, .ctx = ctx };
    *out = (struct spool_verify_result){ 0 };
    int err = spool_alloc(&(struct spool_config){ .dir = dir, .disk = disk }, &s);
    if (err != 0)
        return err;
    /* not by dir_make: a spool that does not exist is an error here */
    s->dir_lock = s->disk->lock_dir(s->disk->ctx, s->dir);
    if (s->dir_lock < 0) {
        err = s->dir_lock;
        spool_free(s);
        return err;
    }
    struct recovery rc = { .s = s, .verify = true, .note = verify_note, .note_ctx = &v };
    err = recovery_load(&rc);
    recovery_fini(&rc);
    if (err == 0) {
        check_messages(s, &v);
        out->segments = s->nsegments;
        out->messages = s->messages;
        out->records = rc.records;
        out->torn_tails = rc.torn;
        out->damaged = s->stats.corrupt_records + v.unreadable;
    }
    spool_free(s);
    if (err != 0)
        return err;
    return out->damaged > INT32_MAX ? INT32_MAX : (int)out->damaged;
}
