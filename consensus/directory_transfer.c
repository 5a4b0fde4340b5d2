/* Batches of mail that move between nodes: whose each is. Ownership moves once, or the batch stays the
 * giver's; what was decided is kept until both know.
 *
 *     (none) --OWN, by giver or taker--> owned -----+
 *        |                                          +--END--> (none)
 *        +-----CANCEL, by the giver--> cancelled ---+
 *
 * END may come from anybody once the giver was removed (from feature level 2 on). A cancelled batch is
 * remembered even if nobody has heard of it: an OWN that comes late must find it.
 */
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdlib.h>

#define ORPHANS_FEATURE 2

struct transfer {
    struct store_rec rec;
    uint8_t id[16];
    uint64_t giver, taker; /* taker 0: cancelled before anybody said */
    uint32_t messages;
    uint8_t sha256[32];
    bool cancelled; /* else it is the taker's */
};

static struct span transfer_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return span_of(((const struct transfer *)rec)->id, 16);
}

static void transfer_encode(const struct store_rec *rec, struct buf *out)
{
    const struct transfer *t = (const struct transfer *)rec;
    (void)buf_put(out, t->id, sizeof t->id);
    (void)buf_put_u64(out, t->giver);
    (void)buf_put_u64(out, t->taker);
    (void)buf_put_u32(out, t->messages);
    (void)buf_put(out, t->sha256, sizeof t->sha256);
    (void)buf_put_u8(out, t->cancelled ? 1 : 0);
}

static void transfer_free(struct store_rec *rec)
{
    free(rec);
}

static int transfer_decode(struct cursor *c, struct store_rec **out)
{
    struct transfer *t = calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    struct span id = cursor_bytes(c, sizeof t->id);
    memcpy(t->id, id.p, id.n);
    t->giver = cursor_u64(c);
    t->taker = cursor_u64(c);
    t->messages = cursor_u32(c);
    struct span sha = cursor_bytes(c, sizeof t->sha256);
    memcpy(t->sha256, sha.p, sha.n);
    uint8_t cancelled = cursor_u8(c);
    t->cancelled = cancelled == 1;
    if (cursor_err(c) || cancelled > 1) {
        free(t);
        return cursor_err(c) ? cursor_err(c) : ERR_CORRUPT;
    }
    *out = &t->rec;
    return 0;
}

const struct store_type directory_transfer_type = {
    32, "transfer", transfer_key, transfer_encode, transfer_decode, transfer_free
};

static struct transfer *transfer_get(const struct machine *m, const uint8_t id[16])
{
    return (struct transfer *)store_find(m->store, &directory_transfer_type, span_of(id, 16));
}

static void tell(struct machine *m, const uint8_t id[16])
{
    uint64_t low = 0;
    for (int i = 0; i < 8; i++)
        low = low << 8 | id[8 + i];
    machine_changed(m, MACHINE_CHANGED_TRANSFER, low, span_of(id, 16));
}

static int add(struct machine *m, const struct transfer *t, struct machine_result *r)
{
    if (store_len(m->store, &directory_transfer_type) >= DIRECTORY_TRANSFERS_MAX)
        return REFUSE(
            r, ERR_LIMIT,
            "%d batches of mail are on their way, which is the most: try again when some have ended",
            DIRECTORY_TRANSFERS_MAX);
    struct transfer *copy = malloc(sizeof *copy);
    if (copy == NULL)
        return -ENOMEM;
    *copy = *t;
    int err = directory_add(m, &m->directory->transfers, &copy->rec);
    if (err != 0)
        free(copy);
    else
        tell(m, t->id);
    return err;
}

int directory_transfer_own(struct machine *m, const struct machine_at *at, const struct command *cmd,
                           struct machine_result *r)
{
    (void)at;
    const struct command_transfer_own *c = &cmd->transfer_own;
    const struct transfer *was = transfer_get(m, c->id);
    uint64_t asker = directory_asker(m, cmd);
    if (asker == 0 || (asker != c->giver && asker != c->taker) || c->giver == c->taker)
        return REFUSE(r, ERR_DENIED, "a batch is handed over by its giver or its taker");
    if (was != NULL && was->cancelled)
        return REFUSE(r, ERR_DENIED, "this batch was cancelled: it stays with its giver");
    if (was != NULL) {
        bool same = was->giver == c->giver && was->taker == c->taker && was->messages == c->messages &&
                    memcmp(was->sha256, c->sha256, sizeof was->sha256) == 0;
        return same ? 0 : REFUSE(r, ERR_EXISTS, "a batch of this id has other mail, or other nodes");
    }
    if (!directory_member_present(m, c->taker))
        return REFUSE(r, ERR_DENIED, "node %llu is no member any more: it cannot take mail",
                      (unsigned long long)c->taker);
    struct transfer t = { .giver = c->giver, .taker = c->taker, .messages = c->messages };
    memcpy(t.id, c->id, sizeof t.id);
    memcpy(t.sha256, c->sha256, sizeof t.sha256);
    return add(m, &t, r);
}

int directory_transfer_cancel(struct machine *m, const struct machine_at *at, const struct command *cmd,
                              struct machine_result *r)
{
    (void)at;
    const uint8_t *id = cmd->transfer_end.id;
    const struct transfer *was = transfer_get(m, id);
    uint64_t asker = directory_asker(m, cmd);
    if (asker == 0 || (was != NULL && was->giver != asker))
        return REFUSE(r, ERR_DENIED, "a batch is cancelled by its giver");
    if (was != NULL)
        return was->cancelled ? 0
                              : REFUSE(r, ERR_DENIED, "this batch is node %llu's already",
                                       (unsigned long long)was->taker);
    struct transfer t = { .giver = asker, .cancelled = true };
    memcpy(t.id, id, sizeof t.id);
    return add(m, &t, r);
}

/* Its giver is out and will never end it: any member may, who has seen to it that nobody needs it. */
static bool is_orphan(const struct machine *m, const struct transfer *t)
{
    return directory_features(m) >= ORPHANS_FEATURE && !directory_member_present(m, t->giver);
}

int directory_transfer_end(struct machine *m, const struct machine_at *at, const struct command *cmd,
                           struct machine_result *r)
{
    (void)at;
    struct transfer *t = transfer_get(m, cmd->transfer_end.id);
    if (t == NULL)
        return 0; /* a repeat */
    uint64_t asker = directory_asker(m, cmd);
    if (asker == 0 || (asker != t->giver && asker != t->taker && !is_orphan(m, t)))
        return REFUSE(r, ERR_DENIED, "a batch is ended by its giver or its taker");
    tell(m, t->id);
    directory_drop(m, &m->directory->transfers, &t->rec);
    return 0;
}

static struct directory_transfer view(const struct transfer *t)
{
    struct directory_transfer v = { .giver = t->giver,
                                    .taker = t->taker,
                                    .messages = t->messages,
                                    .owned = !t->cancelled,
                                    .cancelled = t->cancelled };
    memcpy(v.id, t->id, sizeof v.id);
    memcpy(v.sha256, t->sha256, sizeof v.sha256);
    return v;
}

bool directory_transfer_find(const struct machine *m, const uint8_t id[16], struct directory_transfer *out)
{
    const struct transfer *t = transfer_get(m, id);
    if (t != NULL)
        *out = view(t);
    return t != NULL;
}

int directory_transfer_each(const struct machine *m, directory_transfer_fn *fn, void *arg)
{
    struct directory_place at = { 0 };
    int stop = 0;
    for (const struct store_rec *rec;
         stop == 0 && (rec = directory_index_next(&m->directory->transfers, &at)) != NULL;) {
        struct directory_transfer v = view((const struct transfer *)rec);
        stop = fn(arg, &v);
    }
    return stop;
}
