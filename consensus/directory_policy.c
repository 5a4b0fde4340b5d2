/* The cluster's policy: uploads in chunks, the commit that puts one in force, and the last sixteen. */
#include "base/ensure.h"
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdlib.h>

#define CHUNKS_MAX (DIRECTORY_UPLOAD_BYTES / 1024) /* numbers of one upload */

/* ---- records ------------------------------------------------------------------------------------------- */

struct upload {
    struct store_rec rec;
    uint8_t id[16];
    uint64_t bytes, last_ms; /* of the last chunk, cluster time */
    uint32_t chunks;
};

struct chunk {
    struct store_rec rec;
    uint8_t id[16];
    uint32_t number;
    struct span bytes;
};

static struct span policy_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    const struct directory_policy_rec *p = (const struct directory_policy_rec *)rec;
    return span_of(&p->version, sizeof p->version);
}

static void policy_rec_encode(const struct store_rec *rec, struct buf *out)
{
    const struct directory_policy_rec *p = (const struct directory_policy_rec *)rec;
    (void)buf_put_u64(out, p->version);
    (void)buf_put_u64(out, (uint64_t)p->wall_ms);
    (void)buf_put_counted(out, p->who);
    (void)buf_put_counted(out, p->note);
    (void)buf_put_counted(out, p->text);
    (void)policy_encode(&p->compiled, out);
}

static void policy_rec_free(struct store_rec *rec)
{
    struct directory_policy_rec *p = (struct directory_policy_rec *)rec;
    directory_texts_free(TEXTS(&p->who, &p->note, &p->text));
    free(p);
}

static int policy_rec_decode(struct cursor *c, struct store_rec **out)
{
    struct directory_policy_rec *p = calloc(1, sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    p->version = cursor_u64(c);
    p->wall_ms = (int64_t)cursor_u64(c);
    int err = directory_texts_decode(c, TEXTS(&p->who, &p->note));
    struct span text = cursor_counted(c);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && text.n > POLICY_TEXT_MAX)
        err = ERR_CORRUPT;
    if (err == 0)
        err = directory_text_set(&p->text, text);
    if (err == 0)
        err = policy_decode(c, &p->compiled);
    if (err != 0)
        policy_rec_free(&p->rec);
    else
        *out = &p->rec;
    return err;
}

const struct store_type directory_policy_type = {
    23, "policy", policy_key, policy_rec_encode, policy_rec_decode, policy_rec_free
};

static struct span upload_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return span_of(((const struct upload *)rec)->id, 16);
}

static void upload_encode(const struct store_rec *rec, struct buf *out)
{
    const struct upload *u = (const struct upload *)rec;
    (void)buf_put(out, u->id, sizeof u->id);
    (void)buf_put_u64(out, u->bytes);
    (void)buf_put_u64(out, u->last_ms);
    (void)buf_put_u32(out, u->chunks);
}

static void upload_free(struct store_rec *rec)
{
    free(rec);
}

static int upload_decode(struct cursor *c, struct store_rec **out)
{
    struct upload *u = calloc(1, sizeof *u);
    if (u == NULL)
        return -ENOMEM;
    struct span id = cursor_bytes(c, sizeof u->id);
    u->bytes = cursor_u64(c);
    u->last_ms = cursor_u64(c);
    u->chunks = cursor_u32(c);
    if (cursor_err(c)) {
        free(u);
        return cursor_err(c);
    }
    memcpy(u->id, id.p, id.n);
    *out = &u->rec;
    return 0;
}

const struct store_type directory_upload_type = {
    24, "policy-upload", upload_key, upload_encode, upload_decode, upload_free
};

static struct span chunk_key_of(const uint8_t id[16], uint32_t number, char scratch[STORE_KEY_MAX])
{
    memcpy(scratch, id, 16);
    for (int i = 0; i < 4; i++)
        scratch[16 + i] = (char)(uint8_t)(number >> (24 - 8 * i));
    return span_of(scratch, 20);
}

static struct span chunk_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    const struct chunk *k = (const struct chunk *)rec;
    return chunk_key_of(k->id, k->number, scratch);
}

static void chunk_encode(const struct store_rec *rec, struct buf *out)
{
    const struct chunk *k = (const struct chunk *)rec;
    (void)buf_put(out, k->id, sizeof k->id);
    (void)buf_put_u32(out, k->number);
    (void)buf_put_counted(out, k->bytes);
}

static void chunk_free(struct store_rec *rec)
{
    struct chunk *k = (struct chunk *)rec;
    directory_text_free(&k->bytes);
    free(k);
}

static int chunk_decode(struct cursor *c, struct store_rec **out)
{
    struct chunk *k = calloc(1, sizeof *k);
    if (k == NULL)
        return -ENOMEM;
    struct span id = cursor_bytes(c, sizeof k->id);
    k->number = cursor_u32(c);
    int err = directory_texts_decode(c, TEXTS(&k->bytes));
    if (err != 0) {
        chunk_free(&k->rec);
        return err;
    }
    memcpy(k->id, id.p, id.n);
    *out = &k->rec;
    return 0;
}

const struct store_type directory_chunk_type = { 25,           "policy-chunk", chunk_key,
                                                 chunk_encode, chunk_decode,   chunk_free };

/* ---- uploads ------------------------------------------------------------------------------------------- */

static struct upload *upload_find(const struct machine *m, const uint8_t id[16])
{
    return (struct upload *)store_find(m->store, &directory_upload_type, span_of(id, 16));
}

static struct chunk *chunk_find(const struct machine *m, const uint8_t id[16], uint32_t number)
{
    char scratch[STORE_KEY_MAX];
    return (struct chunk *)store_find(m->store, &directory_chunk_type, chunk_key_of(id, number, scratch));
}

static bool upload_stale(const struct upload *u, uint64_t now_ms)
{
    return now_ms - u->last_ms > DIRECTORY_UPLOAD_STALE_MS && now_ms > u->last_ms;
}

static void upload_drop(struct machine *m, struct upload *u)
{
    struct directory_index *ix = &m->directory->chunks;
    for (;;) {
        struct directory_place place = directory_index_after(ix, span_of(u->id, sizeof u->id));
        struct chunk *k = (struct chunk *)directory_index_next(ix, &place);
        if (k == NULL || memcmp(k->id, u->id, sizeof u->id) != 0)
            break;
        directory_drop(m, ix, &k->rec);
    }
    store_remove(m->store, &u->rec);
}

static int add_chunk(struct machine *m, const struct command_policy_chunk *c)
{
    struct chunk *k = calloc(1, sizeof *k);
    if (k == NULL)
        return -ENOMEM;
    memcpy(k->id, c->upload, sizeof k->id);
    k->number = c->number;
    int err = directory_text_set(&k->bytes, c->bytes);
    if (err == 0)
        err = directory_add(m, &m->directory->chunks, &k->rec);
    if (err != 0)
        chunk_free(&k->rec);
    return err;
}

static int add_upload(struct machine *m, const uint8_t id[16], struct upload **out)
{
    struct upload *u = calloc(1, sizeof *u);
    if (u == NULL)
        return -ENOMEM;
    memcpy(u->id, id, sizeof u->id);
    int err = store_add(m->store, &directory_upload_type, &u->rec);
    if (err != 0)
        free(u);
    else
        *out = u;
    return err;
}

int directory_policy_chunk(struct machine *m, const struct machine_at *at, const struct command *cmd,
                           struct machine_result *r)
{
    const struct command_policy_chunk *c = &cmd->policy_chunk;
    struct upload *u = upload_find(m, c->upload);
    const struct chunk *same = chunk_find(m, c->upload, c->number);
    if (same != NULL)
        return span_eq(same->bytes, c->bytes)
                   ? 0
                   : REFUSE(r, ERR_EXISTS, "another upload has this number: try again");
    if (c->number >= CHUNKS_MAX || c->bytes.n == 0)
        return REFUSE(r, ERR_BAD, "a piece of the policy is empty, or there are too many");
    if (c->bytes.n > DIRECTORY_UPLOAD_BYTES - (u == NULL ? 0 : u->bytes))
        return REFUSE(r, ERR_LIMIT, "the policy is larger than %u MiB", DIRECTORY_UPLOAD_BYTES >> 20);
    if (u == NULL && store_len(m->store, &directory_upload_type) >= DIRECTORY_UPLOADS_MAX)
        return REFUSE(r, ERR_LIMIT, "%d policies are being applied at once: try again in five minutes",
                      DIRECTORY_UPLOADS_MAX);
    int err = u == NULL ? add_upload(m, c->upload, &u) : 0;
    if (err == 0)
        err = add_chunk(m, c);
    if (err != 0)
        return err;
    store_touch(m->store, &u->rec);
    u->bytes += c->bytes.n;
    u->chunks++;
    u->last_ms = at->now_ms;
    return 0;
}

/* All chunks, one behind the other; false: some is missing, or there is more. */
static bool gather(const struct machine *m, const struct upload *u, const struct command_policy_commit *c,
                   struct buf *out)
{
    if (u->chunks != c->chunks || c->text_bytes > POLICY_TEXT_MAX ||
        c->compiled_bytes > DIRECTORY_UPLOAD_BYTES || u->bytes != c->text_bytes + c->compiled_bytes)
        return false;
    for (uint32_t i = 0; i < c->chunks; i++) {
        const struct chunk *k = chunk_find(m, u->id, i);
        if (k == NULL)
            return false;
        (void)buf_put_span(out, k->bytes);
    }
    return true;
}

static void forget_old(struct machine *m)
{
    struct list *all = store_all(m->store, &directory_policy_type);
    while (store_len(m->store, &directory_policy_type) > DIRECTORY_POLICIES_KEPT) {
        struct directory_policy_rec *p = LIST_ITEM(list_first(all), struct directory_policy_rec, rec.link);
        m->directory->policy_bytes -= p->text.n;
        store_remove(m->store, &p->rec);
    }
}

static int enforce(struct machine *m, const struct machine_at *at, const struct command_policy_commit *c,
                   struct span text, const struct policy_compiled *compiled)
{
    struct directory_policy_rec *p = calloc(1, sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    p->version = at->id;
    p->wall_ms = c->by.wall_ms;
    p->compiled = *compiled;
    int err =
        directory_texts_copy(TEXTS(&p->who, &p->note, &p->text), (struct span[]){ c->by.who, c->note, text });
    if (err == 0)
        err = store_add(m->store, &directory_policy_type, &p->rec);
    if (err != 0) {
        policy_rec_free(&p->rec);
        return err;
    }
    m->directory->policy = p;
    m->directory->policy_bytes += text.n;
    forget_old(m);
    quota_limits_changed(m);
    machine_changed(m, MACHINE_CHANGED_POLICY, at->id, (struct span){ 0 });
    machine_changed(m, MACHINE_CHANGED_LIMITS, at->id, (struct span){ 0 });
    return directory_audit(m, at, &c->by, "policy %llu%s%.*s", (unsigned long long)at->id,
                           c->note.n == 0 ? "" : ": ", S(c->note));
}

/* Without chunks: drops the upload. One that nobody asked for by name (the leader) only when it is stale. */
static int give_up(struct machine *m, const struct machine_at *at, const struct command *cmd,
                   struct upload *u)
{
    if (cmd->origin.session != 0 || upload_stale(u, at->now_ms))
        upload_drop(m, u);
    return 0;
}

int directory_policy_commit(struct machine *m, const struct machine_at *at, const struct command *cmd,
                            struct machine_result *r)
{
    const struct command_policy_commit *c = &cmd->policy_commit;
    struct upload *u = upload_find(m, c->upload);
    if (u == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "the policy's text is not here, or was given up: apply it again");
    if (c->chunks == 0)
        return give_up(m, at, cmd, u);
    const struct directory_policy_rec *now = m->directory->policy;
    if (directory_stale(&c->by, now == NULL ? 0 : now->version)) {
        if (now == NULL)
            return REFUSE(r, ERR_BUSY,
                          "the built-in policy is in force, not version %llu: look at it again, then repeat",
                          (unsigned long long)c->by.version);
        return REFUSE(
            r, ERR_BUSY,
            "the policy was changed meanwhile by %.*s, it is now version %llu: look at it again, then "
            "repeat",
            S(now->who), (unsigned long long)now->version);
    }
    struct buf all;
    buf_init(&all, DIRECTORY_UPLOAD_BYTES);
    bool whole = gather(m, u, c, &all);
    int err = buf_err(&all);
    struct policy_compiled *compiled = malloc(sizeof *compiled);
    if (err == 0 && compiled == NULL)
        err = -ENOMEM;
    if (err == 0 && !whole) {
        machine_refuse(r, ERR_BAD, "the policy did not arrive whole: apply it again");
    } else if (err == 0) {
        struct cursor in;
        cursor_init(&in, all.data + c->text_bytes, c->compiled_bytes);
        if (policy_decode(&in, compiled) != 0 || cursor_left(&in) != 0 ||
            policy_level(compiled) > directory_features(m))
            machine_refuse(
                r, ERR_BAD,
                "the policy was compiled by a node that this cluster's version does not understand, or "
                "is damaged: apply it again, on a node of this version");
        else
            err = enforce(m, at, c, span_of(all.data, c->text_bytes), compiled);
        if (err == 0)
            upload_drop(m, u);
    }
    if (err == 0 && r->err == 0)
        r->id = at->id;
    free(compiled);
    buf_fini(&all);
    return err;
}

int directory_uploads_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n)
{
    LIST_EACH(link, store_all(m->store, &directory_upload_type))
    {
        const struct upload *u = LIST_ITEM(link, struct upload, rec.link);
        if (!upload_stale(u, now_ms))
            continue;
        struct command cmd = { .type = COMMAND_POLICY_COMMIT };
        memcpy(cmd.policy_commit.upload, u->id, sizeof u->id);
        int err = command_encode(&cmd, out);
        if (err != 0)
            return err;
        ++*n;
    }
    return 0;
}

/* ---- reading ------------------------------------------------------------------------------------------- */

void directory_policy_restored(struct machine *m)
{
    struct directory *d = m->directory;
    struct list *all = store_all(m->store, &directory_policy_type);
    d->policy = list_empty(all) ? NULL : LIST_ITEM(all->prev, struct directory_policy_rec, rec.link);
    d->policy_bytes = 0;
    LIST_EACH(link, all)
    d->policy_bytes += LIST_ITEM(link, struct directory_policy_rec, rec.link)->text.n;
}

const struct policy_compiled *directory_policy_compiled(const struct machine *m)
{
    return m->directory->policy == NULL ? &m->directory->builtin : &m->directory->policy->compiled;
}

const struct policy_limit *directory_limit(const struct machine *m, struct span name)
{
    const struct policy_compiled *p = directory_policy_compiled(m);
    for (uint32_t i = 0; i < p->nlimits; i++)
        if (span_eq(span_str(p->limits[i].name), name))
            return &p->limits[i];
    return NULL;
}

bool directory_policy(const struct machine *m, uint32_t back, struct directory_policy *out)
{
    const struct list *all = store_all(m->store, &directory_policy_type), *link = all->prev;
    for (uint32_t i = 0; i < back && link != all; i++)
        link = link->prev;
    if (link == all) {
        /* Before the first one that was applied. */
        *out = (struct directory_policy){ .compiled = &m->directory->builtin };
        return back == 0;
    }
    const struct directory_policy_rec *p = LIST_ITEM(link, struct directory_policy_rec, rec.link);
    *out = (struct directory_policy){ p->version, p->text, p->who, p->note, p->wall_ms, &p->compiled };
    return true;
}
