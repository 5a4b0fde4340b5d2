/* Members: their records, their states, what they run, and what goes with one that leaves.
 *
 *     (join) --> joining --> active <--> draining
 *                   |           |           |
 *                   +-----------+-----------+--> removed, for good
 */
#include "base/ensure.h"
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static struct span id_key(uint64_t id, char scratch[STORE_KEY_MAX])
{
    for (int i = 0; i < 8; i++)
        scratch[i] = (char)(uint8_t)(id >> (56 - 8 * i));
    return span_of(scratch, 8);
}

static struct span member_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    return id_key(((const struct directory_member_rec *)rec)->id, scratch);
}

static void member_encode(const struct store_rec *rec, struct buf *out)
{
    const struct directory_member_rec *mb = (const struct directory_member_rec *)rec;
    (void)buf_put_u64(out, mb->id);
    (void)buf_put_u8(out, mb->slot);
    (void)buf_put_u8(out, mb->state);
    (void)buf_put_u8(out, mb->role);
    (void)buf_put_counted(out, mb->name);
    (void)buf_put_counted(out, mb->raft_address);
    (void)buf_put_counted(out, mb->gossip_address);
    (void)buf_put_counted(out, mb->runs);
    (void)buf_put_u32(out, mb->features);
    for (int i = 0; i < 2; i++) {
        (void)buf_put(out, mb->certificates[i], sizeof mb->certificates[i]);
        (void)buf_put_u64(out, (uint64_t)mb->not_after_ms[i]);
    }
    (void)buf_put_u64(out, mb->session);
    (void)buf_put_u64(out, mb->version);
}

static void member_free(struct store_rec *rec)
{
    struct directory_member_rec *mb = (struct directory_member_rec *)rec;
    directory_texts_free(TEXTS(&mb->name, &mb->raft_address, &mb->gossip_address, &mb->runs));
    free(mb);
}

static int member_decode(struct cursor *c, struct store_rec **out)
{
    struct directory_member_rec *mb = calloc(1, sizeof *mb);
    if (mb == NULL)
        return -ENOMEM;
    mb->id = cursor_u64(c);
    mb->slot = cursor_u8(c);
    mb->state = cursor_u8(c);
    mb->role = cursor_u8(c);
    int err = directory_texts_decode(c, TEXTS(&mb->name, &mb->raft_address, &mb->gossip_address, &mb->runs));
    mb->features = cursor_u32(c);
    for (int i = 0; i < 2; i++) {
        struct span sha = cursor_bytes(c, sizeof mb->certificates[i]);
        memcpy(mb->certificates[i], sha.p, sha.n);
        mb->not_after_ms[i] = (int64_t)cursor_u64(c);
    }
    mb->session = cursor_u64(c);
    mb->version = cursor_u64(c);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 &&
        (mb->id == 0 || mb->state < COMMAND_MEMBER_JOINING || mb->state > COMMAND_MEMBER_REMOVED ||
         mb->role < COMMAND_ROLE_STANDBY || mb->role > COMMAND_ROLE_VOTER))
        err = ERR_CORRUPT;
    if (err != 0)
        member_free(&mb->rec);
    else
        *out = &mb->rec;
    return err;
}

const struct store_type directory_member_type = {
    30, "member", member_key, member_encode, member_decode, member_free
};

/* ---- finding ------------------------------------------------------------------------------------------- */

struct directory_member_rec *directory_member_get(const struct machine *m, uint64_t id)
{
    char scratch[STORE_KEY_MAX];
    return (struct directory_member_rec *)store_find(m->store, &directory_member_type, id_key(id, scratch));
}

#define MEMBERS_EACH(mb, m)                                                                                  \
    struct directory_place mb##_at = { 0 };                                                                  \
    for (struct directory_member_rec * mb; (mb = (struct directory_member_rec *)directory_index_next(        \
                                                &(m)->directory->members, &mb##_at)) != NULL;)

struct directory_member_rec *directory_member_get_named(const struct machine *m, struct span name)
{
    MEMBERS_EACH(mb, m)
    {
        if (directory_member_is_present(mb) && span_eq(mb->name, name))
            return mb;
    }
    return NULL;
}

const char *directory_member_text(const struct machine *m, uint64_t id, char out[DIRECTORY_MEMBER_TEXT])
{
    const struct directory_member_rec *mb = directory_member_get(m, id);
    if (mb != NULL)
        snprintf(out, DIRECTORY_MEMBER_TEXT, "%.*s (%llu)", S(mb->name), (unsigned long long)id);
    else
        snprintf(out, DIRECTORY_MEMBER_TEXT, "node %llu", (unsigned long long)id);
    return out;
}

bool directory_member_unique(const struct machine *m, uint64_t self, struct span name,
                             struct span raft_address, struct span gossip_address, struct machine_result *r)
{
    if (span_eq(raft_address, gossip_address) && raft_address.n != 0) {
        machine_refuse(r, ERR_BAD, "raft and gossip cannot have the same address %.*s: change one of them",
                       S(raft_address));
        return false;
    }
    MEMBERS_EACH(mb, m)
    {
        if (!directory_member_is_present(mb) || mb->id == self)
            continue;
        unsigned long long id = mb->id;
        if (name.n != 0 && span_eq(mb->name, name)) {
            machine_refuse(
                r, ERR_EXISTS,
                "there is a node %.*s already (%llu): give this one another name, or remove that one first",
                S(name), id);
            return false;
        }
        const struct span theirs[] = { mb->raft_address, mb->gossip_address },
                          ours[] = { raft_address, gossip_address };
        for (size_t i = 0; i < 4; i++)
            if (ours[i / 2].n != 0 && span_eq(ours[i / 2], theirs[i % 2])) {
                machine_refuse(
                    r, ERR_EXISTS,
                    "address %.*s is node %.*s's already (%llu): choose another, or remove that node first",
                    S(ours[i / 2]), S(mb->name), id);
                return false;
            }
    }
    return true;
}

uint64_t directory_asker(const struct machine *m, const struct command *cmd)
{
    struct machine_session s;
    return cmd->origin.session != 0 && machine_session_find(m, cmd->origin.session, &s) ? s.node : 0;
}

/* ---- coming and going ---------------------------------------------------------------------------------- */

/* The next free slot after the last one that was given, so that a queue id of a removed node does not soon
 * come again; 0: all are taken. */
static uint8_t free_slot(const struct machine *m)
{
    bool taken[256] = { true };
    MEMBERS_EACH(mb, m)
    {
        if (directory_member_is_present(mb))
            taken[mb->slot] = true;
    }
    uint8_t slot = m->directory->cluster->last_slot;
    for (int i = 0; i < 256; i++)
        if (!taken[++slot])
            return slot;
    return 0;
}

/* Removed ones are kept for people, up to a bound. */
static void forget_removed(struct machine *m)
{
    struct directory_index *ix = &m->directory->members;
    if (ix->len < DIRECTORY_MEMBERS_MAX)
        return;
    MEMBERS_EACH(mb, m)
    {
        if (mb->state == COMMAND_MEMBER_REMOVED) {
            directory_drop(m, ix, &mb->rec);
            return;
        }
    }
}

int directory_member_new(struct machine *m, const struct machine_at *at,
                         const struct command_member_join *join, struct directory_member_rec **out)
{
    struct directory_cluster_rec *cluster = m->directory->cluster;
    uint8_t slot = free_slot(m);
    *out = NULL;
    if (slot == 0)
        return 0;
    forget_removed(m);
    struct directory_member_rec *mb = calloc(1, sizeof *mb);
    if (mb == NULL)
        return -ENOMEM;
    mb->id = cluster->last_member + 1;
    mb->slot = slot;
    mb->state = COMMAND_MEMBER_JOINING;
    mb->role = COMMAND_ROLE_STANDBY;
    mb->features = join->features;
    mb->version = at->id;
    int err = directory_texts_copy(
        TEXTS(&mb->name, &mb->raft_address, &mb->gossip_address, &mb->runs),
        (struct span[]){ join->name, join->raft_address, join->gossip_address, join->version });
    if (err == 0)
        err = directory_add(m, &m->directory->members, &mb->rec);
    if (err != 0) {
        member_free(&mb->rec);
        return err;
    }
    store_touch(m->store, &cluster->rec);
    cluster->last_member = mb->id;
    cluster->last_slot = slot;
    machine_changed(m, MACHINE_CHANGED_MEMBERS, mb->id, mb->name);
    *out = mb;
    return 0;
}

void directory_member_remove(struct machine *m, const struct machine_at *at, struct directory_member_rec *mb)
{
    store_touch(m->store, &mb->rec);
    mb->state = COMMAND_MEMBER_REMOVED;
    mb->role = COMMAND_ROLE_STANDBY;
    mb->slot = 0;
    mb->version = at->id;
    memset(mb->certificates, 0, sizeof mb->certificates);
    memset(mb->not_after_ms, 0, sizeof mb->not_after_ms);
    /* Addresses that were to become its own; those that it owns are free when its session has ended. */
    directory_ips_member_removed(m, at, mb->id);
    directory_erasures_settle(m);
    session_member_removed(m, at, mb->id);
    directory_reporter_drop(m, mb->id);
    machine_changed(m, MACHINE_CHANGED_MEMBERS, mb->id, mb->name);
}

bool directory_member_present(const struct machine *m, uint64_t node)
{
    return directory_member_is_present(directory_member_get(m, node));
}

void directory_session_current(struct machine *m, const struct machine_at *at, uint64_t node,
                               uint64_t session)
{
    struct directory_member_rec *mb = directory_member_get(m, node);
    if (mb == NULL || mb->session == session)
        return;
    store_touch(m->store, &mb->rec);
    mb->session = session;
    directory_floating_session(m, at, node, session);
    directory_ips_settle(m, at, 0);
}

void directory_session_ended(struct machine *m, const struct machine_at *at, uint64_t node, uint64_t session)
{
    (void)node; /* whose current one it is no longer: directory_session_current said so */
    directory_ips_settle(m, at, session);
}

/* ---- commands ------------------------------------------------------------------------------------------ */

static const char *const states[] = { "", "joining", "active", "draining", "removed" };

static bool may_become(uint8_t from, uint8_t to)
{
    switch (to) {
    case COMMAND_MEMBER_ACTIVE:
        return from == COMMAND_MEMBER_JOINING || from == COMMAND_MEMBER_DRAINING;
    case COMMAND_MEMBER_DRAINING:
        return from == COMMAND_MEMBER_ACTIVE;
    case COMMAND_MEMBER_REMOVED:
        return true;
    default:
        return false;
    }
}

/* Is there another present member with this role (0: any)? */
static bool another(const struct machine *m, const struct directory_member_rec *self, uint8_t role)
{
    MEMBERS_EACH(mb, m)
    {
        if (mb != self && directory_member_is_present(mb) && (role == 0 || mb->role == role))
            return true;
    }
    return false;
}

static bool member_set_ok(const struct machine *m, const struct command_member_set *c,
                          const struct directory_member_rec *mb, struct machine_result *r)
{
    unsigned long long id = c->node;
    if (mb == NULL) {
        machine_refuse(r, ERR_NOT_FOUND, "there is no node %llu: `turnpike node list` shows them", id);
        return false;
    }
    uint8_t state = c->state == 0 ? mb->state : c->state, role = c->role == 0 ? mb->role : c->role;
    bool gone = state == COMMAND_MEMBER_REMOVED;
    if (directory_stale(&c->by, mb->version))
        machine_refuse(
            r, ERR_BUSY,
            "node %.*s was changed meanwhile: it is now %s, a %s (version %llu); look at it again, then "
            "repeat",
            S(mb->name), states[mb->state], mb->role == COMMAND_ROLE_VOTER ? "voter" : "standby",
            (unsigned long long)mb->version);
    else if (mb->state == COMMAND_MEMBER_REMOVED)
        machine_refuse(r, ERR_DENIED, "node %.*s (%llu) was removed, for good: let it join as a new one",
                       S(mb->name), id);
    else if (state != mb->state && !may_become(mb->state, state))
        machine_refuse(r, ERR_DENIED, "node %.*s is %s, so it cannot become %s", S(mb->name),
                       states[mb->state], states[state]);
    else if (role == COMMAND_ROLE_VOTER && mb->role != role && state != COMMAND_MEMBER_ACTIVE)
        machine_refuse(r, ERR_DENIED, "node %.*s is %s: only an active one can become a voter", S(mb->name),
                       states[state]);
    else if (gone && !another(m, mb, 0))
        machine_refuse(r, ERR_DENIED, "node %.*s is the only one: it cannot be removed", S(mb->name));
    else if (mb->role == COMMAND_ROLE_VOTER && (gone || role != COMMAND_ROLE_VOTER) &&
             !another(m, mb, COMMAND_ROLE_VOTER))
        machine_refuse(r, ERR_DENIED, "node %.*s is the only voter: make another one a voter first",
                       S(mb->name));
    else if (!gone)
        (void)directory_member_unique(m, mb->id, (struct span){ 0 }, c->raft_address, c->gossip_address, r);
    return r->err == 0;
}

int directory_member_set(struct machine *m, const struct machine_at *at, const struct command *cmd,
                         struct machine_result *r)
{
    const struct command_member_set *c = &cmd->member_set;
    struct directory_member_rec *mb = directory_member_get(m, c->node);
    if (!member_set_ok(m, c, mb, r))
        return 0;
    r->id = mb->id;
    if (c->state == COMMAND_MEMBER_REMOVED) {
        directory_member_remove(m, at, mb);
        return directory_audit(m, at, &c->by, "removed node %.*s (%llu)", S(mb->name),
                               (unsigned long long)mb->id);
    }
    store_touch(m->store, &mb->rec);
    if (c->state != 0)
        mb->state = c->state;
    if (c->role != 0)
        mb->role = c->role;
    mb->version = at->id;
    int err = c->raft_address.n == 0 ? 0 : directory_text_set(&mb->raft_address, c->raft_address);
    if (err == 0 && c->gossip_address.n != 0)
        err = directory_text_set(&mb->gossip_address, c->gossip_address);
    if (err != 0)
        return err;
    machine_changed(m, MACHINE_CHANGED_MEMBERS, mb->id, mb->name);
    return directory_audit(m, at, &c->by, "node %.*s (%llu) is %s, a %s, at %.*s and %.*s", S(mb->name),
                           (unsigned long long)mb->id, states[mb->state],
                           mb->role == COMMAND_ROLE_VOTER ? "voter" : "standby", S(mb->raft_address),
                           S(mb->gossip_address));
}

/* A command about one present member. */
static struct directory_member_rec *present(struct machine *m, uint64_t node, struct machine_result *r)
{
    struct directory_member_rec *mb = directory_member_get(m, node);
    if (mb == NULL)
        machine_refuse(r, ERR_NOT_FOUND, "there is no node %llu", (unsigned long long)node);
    else if (!directory_member_is_present(mb))
        machine_refuse(r, ERR_DENIED, "node %.*s (%llu) was removed", S(mb->name), (unsigned long long)node);
    return r->err == 0 ? mb : NULL;
}

int directory_member_report(struct machine *m, const struct machine_at *at, const struct command *cmd,
                            struct machine_result *r)
{
    (void)at;
    const struct command_member_report *c = &cmd->member_report;
    struct directory_member_rec *mb = present(m, c->node, r);
    if (mb == NULL)
        return 0;
    if (cmd->origin.session != 0 && directory_asker(m, cmd) != c->node)
        return REFUSE(r, ERR_DENIED, "a node reports what it runs itself");
    if (!directory_text_ok(c->version) || c->features == 0)
        return REFUSE(r, ERR_BAD, "the version has control characters, or the feature level is 0");
    store_touch(m->store, &mb->rec);
    mb->features = c->features;
    int err = directory_text_set(&mb->runs, c->version);
    machine_changed(m, MACHINE_CHANGED_MEMBERS, mb->id, mb->name);
    return err;
}

int directory_cert_issued(struct machine *m, const struct machine_at *at, const struct command *cmd,
                          struct machine_result *r)
{
    (void)at;
    const struct command_cert_issued *c = &cmd->cert_issued;
    struct directory_member_rec *mb = present(m, c->node, r);
    if (mb == NULL || memcmp(mb->certificates[0], c->sha256, sizeof c->sha256) == 0)
        return 0;
    store_touch(m->store, &mb->rec);
    memcpy(mb->certificates[1], mb->certificates[0], sizeof c->sha256);
    mb->not_after_ms[1] = mb->not_after_ms[0];
    memcpy(mb->certificates[0], c->sha256, sizeof c->sha256);
    mb->not_after_ms[0] = c->not_after_ms;
    machine_changed(m, MACHINE_CHANGED_MEMBERS, mb->id, mb->name);
    return 0;
}

int directory_feature_raise(struct machine *m, const struct machine_at *at, const struct command *cmd,
                            struct machine_result *r)
{
    const struct command_feature_raise *c = &cmd->feature_raise;
    struct directory_cluster_rec *cluster = m->directory->cluster;
    if (cluster == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no cluster yet");
    if (directory_stale(&c->by, cluster->version))
        return REFUSE(r, ERR_BUSY, "the feature level was changed meanwhile: it is now %u",
                      cluster->features);
    if (c->level == cluster->features)
        return 0;
    if (c->level < cluster->features)
        return REFUSE(r, ERR_DENIED, "the feature level is %u, and is never lowered", cluster->features);
    MEMBERS_EACH(mb, m)
    {
        if (directory_member_is_present(mb) && mb->features < c->level)
            return REFUSE(
                r, ERR_DENIED,
                "node %.*s (%llu, version %.*s) can do level %u only: upgrade or remove it before level %u",
                S(mb->name), (unsigned long long)mb->id, S(mb->runs), mb->features, c->level);
    }
    store_touch(m->store, &cluster->rec);
    cluster->features = c->level;
    cluster->version = r->id = at->id;
    machine_changed(m, MACHINE_CHANGED_FEATURES, c->level, (struct span){ 0 });
    return directory_audit(m, at, &c->by, "feature level %u", c->level);
}

/* ---- reading ------------------------------------------------------------------------------------------- */

static struct directory_member view(const struct directory_member_rec *mb)
{
    struct directory_member v = { .id = mb->id,
                                  .slot = mb->slot,
                                  .name = mb->name,
                                  .raft_address = mb->raft_address,
                                  .gossip_address = mb->gossip_address,
                                  .version = mb->runs,
                                  .state = mb->state,
                                  .role = mb->role,
                                  .features = mb->features,
                                  .not_after_ms = { mb->not_after_ms[0], mb->not_after_ms[1] },
                                  .session = mb->session,
                                  .changed = mb->version };
    memcpy(v.certificates, mb->certificates, sizeof v.certificates);
    return v;
}

bool directory_member_find(const struct machine *m, uint64_t id, struct directory_member *out)
{
    const struct directory_member_rec *mb = directory_member_get(m, id);
    if (mb != NULL)
        *out = view(mb);
    return mb != NULL;
}

bool directory_member_named(const struct machine *m, struct span name, struct directory_member *out)
{
    const struct directory_member_rec *mb = directory_member_get_named(m, name);
    if (mb != NULL)
        *out = view(mb);
    return mb != NULL;
}

int directory_member_each(const struct machine *m, directory_member_fn *fn, void *arg)
{
    int stop = 0;
    MEMBERS_EACH(mb, m)
    {
        struct directory_member v = view(mb);
        stop = fn(arg, &v);
        if (stop != 0)
            break;
    }
    return stop;
}

uint32_t directory_voters(const struct machine *m)
{
    uint32_t n = 0;
    MEMBERS_EACH(mb, m)
    n += mb->state != COMMAND_MEMBER_REMOVED && mb->role == COMMAND_ROLE_VOTER;
    return n;
}
