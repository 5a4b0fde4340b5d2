/* Senders' standing: good, neutral or poor, by which nodes choose the pool that an account's mail leaves
 * from. Who judges is the leader's business (node/core/reputation.c), or an operator's, whose word is pinned:
 * no judgement changes it. Each change is in the audit trail.
 *
 * Who has no record here is neutral. Bounded by DIRECTORY_STANDINGS_MAX. From feature level 4 on.
 */
#include "base/ensure.h"
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdlib.h>

#define STANDING_FEATURE 4

struct standing {
    struct store_rec rec;
    uint64_t since_ms, version;
    int64_t wall_ms;
    uint8_t tier;
    bool pinned;
    uint16_t nname;
    char name[];
};

static const char *const tiers[] = {
    [COMMAND_TIER_NEUTRAL] = "neutral", [COMMAND_TIER_GOOD] = "good", [COMMAND_TIER_POOR] = "poor"
};

static struct span name_of(const struct standing *s)
{
    return span_of(s->name, s->nname);
}

static struct span standing_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return name_of((const struct standing *)rec);
}

static void standing_encode(const struct store_rec *rec, struct buf *out)
{
    const struct standing *s = (const struct standing *)rec;
    (void)buf_put_counted(out, name_of(s));
    (void)buf_put_u8(out, s->tier);
    (void)buf_put_u8(out, s->pinned ? 1 : 0);
    (void)buf_put_u64(out, s->since_ms);
    (void)buf_put_u64(out, (uint64_t)s->wall_ms);
    (void)buf_put_u64(out, s->version);
}

static void standing_free(struct store_rec *rec)
{
    free(rec);
}

static struct standing *make(struct span name)
{
    struct standing *s = calloc(1, sizeof *s + name.n);
    if (s == NULL)
        return NULL;
    s->nname = (uint16_t)name.n;
    memcpy(s->name, name.p, name.n);
    return s;
}

static int standing_decode(struct cursor *c, struct store_rec **out)
{
    struct span name = cursor_counted(c);
    uint8_t tier = cursor_u8(c), pinned = cursor_u8(c);
    uint64_t since_ms = cursor_u64(c);
    int64_t wall_ms = (int64_t)cursor_u64(c);
    uint64_t version = cursor_u64(c);
    if (cursor_err(c) != 0)
        return cursor_err(c);
    if (!directory_name_ok(name) || name.n > COMMAND_NAME_MAX || tier > COMMAND_TIER_POOR || pinned > 1)
        return ERR_CORRUPT;
    struct standing *s = make(name);
    if (s == NULL)
        return -ENOMEM;
    s->tier = tier;
    s->pinned = pinned == 1;
    s->since_ms = since_ms;
    s->wall_ms = wall_ms;
    s->version = version;
    *out = &s->rec;
    return 0;
}

const struct store_type directory_standing_type = {
    122, "standing", standing_key, standing_encode, standing_decode, standing_free
};

static struct standing *find(const struct machine *m, struct span account)
{
    return (struct standing *)store_find(m->store, &directory_standing_type, account);
}

static int refused(const struct machine *m, const struct command_standing_set *c, const struct standing *s,
                   struct machine_result *r)
{
    if (directory_features(m) < STANDING_FEATURE)
        return machine_refuse(r, ERR_DENIED, "the cluster's feature level is %u, senders' standing needs %d",
                              directory_features(m), STANDING_FEATURE);
    if (!directory_name_ok(c->account) || !directory_text_ok(c->reason))
        return machine_refuse(r, ERR_BAD, "%.*s is no account, or the reason has control characters",
                              S(c->account));
    if (s != NULL && directory_stale(&c->by, s->version))
        return machine_refuse(r, ERR_BUSY, "the standing of %.*s was changed meanwhile", S(c->account));
    if (s != NULL && s->pinned && c->judged)
        return machine_refuse(r, ERR_DENIED, "the standing of %.*s is pinned", S(c->account));
    if (s == NULL && m->directory->standings.len >= DIRECTORY_STANDINGS_MAX)
        return machine_refuse(r, ERR_LIMIT, "%d senders have a standing, which is the most",
                              DIRECTORY_STANDINGS_MAX);
    return 0;
}

int directory_standing_set(struct machine *m, const struct machine_at *at, const struct command *cmd,
                           struct machine_result *r)
{
    const struct command_standing_set *c = &cmd->standing_set;
    struct standing *s = find(m, c->account);
    bool new = s == NULL;
    if (refused(m, c, s, r) != 0)
        return 0;
    if (!new && c->judged && c->tier == s->tier) /* it was proposed twice */
        return 0;
    if (new && (s = make(c->account)) == NULL)
        return -ENOMEM;
    if (!new)
        store_touch(m->store, &s->rec);
    uint8_t was = s->tier;
    uint8_t tier = c->keep ? was : c->tier;
    if (new || was != tier) {
        s->since_ms = at->now_ms;
        s->wall_ms = c->by.wall_ms;
    }
    s->tier = tier;
    s->pinned = c->pinned;
    s->version = at->id;
    int err = new ? directory_add(m, &m->directory->standings, &s->rec) : 0;
    if (err != 0) {
        free(s);
        return err;
    }
    r->id = at->id;
    if (was != tier)
        machine_changed(m, MACHINE_CHANGED_POOLS, at->id, (struct span){ 0 });
    return directory_audit(m, at, &c->by, "sender %.*s: %s -> %s%s%s%.*s", S(c->account), tiers[was],
                           tiers[tier], c->pinned ? ", pinned" : "", c->reason.n > 0 ? ": " : "",
                           S(c->reason));
}

int directory_standing_forget(struct machine *m, const struct machine_at *at, const struct command *cmd,
                              struct machine_result *r)
{
    const struct command_record_forget *c = &cmd->record_forget;
    struct standing *s = find(m, c->account);
    (void)at;
    (void)r;
    if (s == NULL || s->version != c->entry || s->pinned || s->tier != COMMAND_TIER_NEUTRAL)
        return 0;
    directory_drop(m, &m->directory->standings, &s->rec);
    return 0;
}

/* ---- readers --------------------------------------------------------------------------------------------
 */

static struct directory_standing view(const struct standing *s)
{
    return (struct directory_standing){ .account = name_of(s),
                                        .tier = s->tier,
                                        .pinned = s->pinned,
                                        .since_ms = s->since_ms,
                                        .wall_ms = s->wall_ms,
                                        .version = s->version };
}

const char *directory_tier_name(uint8_t tier)
{
    ensure(tier < sizeof tiers / sizeof tiers[0]);
    return tiers[tier];
}

bool directory_standing_find(const struct machine *m, struct span account, struct directory_standing *out)
{
    const struct standing *s = find(m, account);
    if (s != NULL)
        *out = view(s);
    return s != NULL;
}

int directory_standing_each(const struct machine *m, struct span after, directory_standing_fn *fn, void *arg)
{
    struct directory_place at = directory_index_after(&m->directory->standings, after);
    int stop = 0;
    for (const struct store_rec *rec;
         stop == 0 && (rec = directory_index_next(&m->directory->standings, &at)) != NULL;) {
        struct directory_standing v = view((const struct standing *)rec);
        stop = fn(arg, &v);
    }
    return stop;
}
