/* Source addresses and their owners. One address never has two:
 *
 *     owned --move, remove--> revoked --every session of the owner that was opened before the revoke has
 * released it or ended--> free --the next owner has a session--> owned owned --the owner has no session any
 * more, not even one that is waited for--> free, and its own again with its next session
 *
 * A session that was opened after the revoke knows of it and never used the address.
 */
#include "base/ensure.h"
#include "consensus/directory_floating.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#define WEIGHT_DEFAULT 100
#define WEIGHT_MAX 10000

static struct span ip_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return ((const struct ip *)rec)->address;
}

static void ip_encode(const struct store_rec *rec, struct buf *out)
{
    const struct ip *ip = (const struct ip *)rec;
    (void)buf_put_counted(out, ip->address);
    (void)buf_put_counted(out, ip->pool);
    (void)buf_put_counted(out, ip->ehlo);
    (void)buf_put_u64(out, ip->node);
    (void)buf_put_u64(out, ip->next);
    (void)buf_put_u64(out, ip->move);
    (void)buf_put_u64(out, ip->released);
    (void)buf_put_u32(out, ip->weight);
    (void)buf_put_u8(out, ip->use);
    (void)buf_put_u64(out, ip->version);
}

static void ip_free(struct store_rec *rec)
{
    struct ip *ip = (struct ip *)rec;
    directory_texts_free(TEXTS(&ip->address, &ip->pool, &ip->ehlo));
    free(ip);
}

static int ip_decode(struct cursor *c, struct store_rec **out)
{
    struct ip *ip = calloc(1, sizeof *ip);
    if (ip == NULL)
        return -ENOMEM;
    int err = directory_texts_decode(c, TEXTS(&ip->address, &ip->pool, &ip->ehlo));
    ip->node = cursor_u64(c);
    ip->next = cursor_u64(c);
    ip->move = cursor_u64(c);
    ip->released = cursor_u64(c);
    ip->weight = cursor_u32(c);
    ip->use = cursor_u8(c);
    ip->version = cursor_u64(c);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && (ip->address.n == 0 || ip->address.n > COMMAND_NAME_MAX || ip->use < COMMAND_USE_ON ||
                     ip->use > COMMAND_USE_DISABLED))
        err = ERR_CORRUPT;
    if (err != 0)
        ip_free(&ip->rec);
    else
        *out = &ip->rec;
    return err;
}

const struct store_type directory_ip_type = { 28, "address", ip_key, ip_encode, ip_decode, ip_free };

struct ip *directory_ip_find(const struct machine *m, struct span address)
{
    return (struct ip *)store_find(m->store, &directory_ip_type, address);
}

/* ---- who owns it --------------------------------------------------------------------------------------- */

struct holders {
    const struct ip *ip;
    uint64_t ended;
};

/* Nonzero: this session may still use the address. */
static int holds(void *arg, const struct machine_session *s)
{
    const struct holders *h = arg;
    if (s->node != h->ip->node || s->id == h->ended)
        return 0;
    if (h->ip->next == 0)
        return 1;
    return s->id < h->ip->move && s->id != h->ip->released;
}

void directory_ip_tell(struct machine *m, const struct machine_at *at, const struct ip *ip)
{
    machine_changed(m, MACHINE_CHANGED_POOLS, at->id, ip->address);
}

/* Nobody owns it from now on. False: it is gone as a whole. */
static bool vacate(struct machine *m, const struct machine_at *at, struct ip *ip)
{
    directory_ip_tell(m, at, ip);
    if (ip->next == DIRECTORY_NOBODY) {
        directory_warmup_gone(m, at, ip->address);
        directory_lodging_drop(m, ip);
        directory_drop(m, &m->directory->ips, &ip->rec);
        return false;
    }
    directory_lodging_vacated(m, at, ip);
    store_touch(m->store, &ip->rec);
    if (ip->next == 0 && directory_member_present(m, ip->node)) {
        ip->next = ip->node;
        ip->move = at->id;
    }
    ip->node = ip->released = 0;
    return true;
}

void directory_ip_settle(struct machine *m, const struct machine_at *at, struct ip *ip, uint64_t ended)
{
    struct holders h = { ip, ended };
    if (ip->node != 0 && machine_sessions_each(m, holds, &h) == 0 && !vacate(m, at, ip))
        return;
    if (ip->node != 0 || ip->next == 0 || directory_lodging_waits_for(m, ip) != 0)
        return;
    const struct directory_member_rec *next = directory_member_get(m, ip->next);
    if (!directory_member_is_present(next) || next->session == 0 || next->session == ended)
        return;
    store_touch(m->store, &ip->rec);
    ip->node = ip->next;
    ip->next = ip->move = ip->released = 0;
    directory_lodging_owned(m, at, ip);
    directory_ip_tell(m, at, ip);
}

void directory_ips_settle(struct machine *m, const struct machine_at *at, uint64_t ended)
{
    LIST_EACH_SAFE(link, store_all(m->store, &directory_ip_type))
    directory_ip_settle(m, at, LIST_ITEM(link, struct ip, rec.link), ended);
}

void directory_ips_member_removed(struct machine *m, const struct machine_at *at, uint64_t node)
{
    LIST_EACH(link, store_all(m->store, &directory_ip_type))
    {
        struct ip *ip = LIST_ITEM(link, struct ip, rec.link);
        if (ip->next != node)
            continue;
        store_touch(m->store, &ip->rec);
        ip->next = ip->move = ip->released = 0;
        directory_ip_tell(m, at, ip);
    }
    directory_lodgings_member_removed(m, node);
}

/* ---- commands ------------------------------------------------------------------------------------------ */

static bool address_ok(struct span address)
{
    char text[INET6_ADDRSTRLEN + 1] = { 0 }, again[INET6_ADDRSTRLEN + 1];
    uint8_t bytes[16];
    if (address.n >= sizeof text)
        return false;
    memcpy(text, address.p, address.n);
    int family = strchr(text, ':') == NULL ? AF_INET : AF_INET6;
    return inet_pton(family, text, bytes) == 1 && inet_ntop(family, bytes, again, sizeof again) != NULL &&
           span_eq(address, span_str(again));
}

static int stale_ip(const struct machine *m, struct machine_result *r, const struct ip *ip)
{
    static const char *const uses[] = { "", "used", "drained", "disabled" };
    char owner[DIRECTORY_MEMBER_TEXT];
    return REFUSE(r, ERR_BUSY,
                  "address %.*s was changed meanwhile: it is now %s, pool %.*s, of %.64s (version %llu); "
                  "look at it again, "
                  "then repeat",
                  S(ip->address), uses[ip->use], ip->pool.n > 64 ? 64 : (int)ip->pool.n, ip->pool.p,
                  ip->node == 0 ? "no node" : directory_member_text(m, ip->node, owner),
                  (unsigned long long)ip->version);
}

static int being_removed(struct machine_result *r, const struct ip *ip)
{
    return REFUSE(
        r, ERR_BUSY,
        "address %.*s is being removed, and its node has not released it yet: try again in some seconds",
        S(ip->address));
}

/* May the node be given addresses? Else false and the refusal. */
static bool node_ok(const struct machine *m, uint64_t node, struct machine_result *r)
{
    const struct directory_member_rec *mb = directory_member_get(m, node);
    if (!directory_member_is_present(mb))
        machine_refuse(r, ERR_NOT_FOUND, "there is no node %llu: `turnpike node list` shows them",
                       (unsigned long long)node);
    else if (mb->state == COMMAND_MEMBER_DRAINING)
        machine_refuse(r, ERR_DENIED, "node %.*s is being drained: choose another", S(mb->name));
    return r->err == 0;
}

static bool ip_set_ok(const struct machine *m, const struct command_ip_set *c, const struct ip *ip,
                      struct machine_result *r)
{
    if (c->create && !address_ok(c->address))
        machine_refuse(r, ERR_BAD, "%.*s is no address as it is usually written (192.0.2.1, 2001:db8::1)",
                       S(c->address));
    else if (ip != NULL && ip->next == DIRECTORY_NOBODY)
        (void)being_removed(r, ip);
    else if (c->create && ip != NULL)
        machine_refuse(r, ERR_EXISTS, "there is an address %.*s already, in pool %.*s", S(c->address),
                       S(ip->pool));
    else if (!c->create && ip == NULL)
        machine_refuse(r, ERR_NOT_FOUND, "there is no address %.*s", S(c->address));
    else if (ip != NULL && directory_stale(&c->by, ip->version))
        (void)stale_ip(m, r, ip);
    else if (c->create && c->pool.n == 0)
        machine_refuse(r, ERR_BAD, "address %.*s: say which pool it is for", S(c->address));
    else if (c->pool.n != 0 && !directory_pool_exists(m, c->pool))
        machine_refuse(r, ERR_NOT_FOUND, "there is no pool %.*s: make it first", S(c->pool));
    else if (c->ehlo.n != 0 && !directory_name_ok(c->ehlo))
        machine_refuse(r, ERR_BAD, "the name to greet with has blanks or control characters");
    else if (c->weight > WEIGHT_MAX)
        machine_refuse(r, ERR_BAD, "a weight is at most %d", WEIGHT_MAX);
    else if (c->create && node_ok(m, c->node, r) &&
             store_len(m->store, &directory_ip_type) >= DIRECTORY_ADDRESSES_MAX)
        machine_refuse(r, ERR_LIMIT, "there are %d addresses, which is the most: remove some first",
                       DIRECTORY_ADDRESSES_MAX);
    return r->err == 0;
}

static int ip_new(struct machine *m, const struct machine_at *at, const struct command_ip_set *c,
                  struct ip **out)
{
    struct ip *ip = calloc(1, sizeof *ip);
    if (ip == NULL)
        return -ENOMEM;
    ip->next = c->node;
    ip->move = at->id;
    ip->weight = WEIGHT_DEFAULT;
    ip->use = COMMAND_USE_ON;
    int err = directory_text_set(&ip->address, c->address);
    if (err == 0)
        err = directory_add(m, &m->directory->ips, &ip->rec);
    if (err != 0)
        ip_free(&ip->rec);
    else
        *out = ip;
    return err;
}

int directory_ip_set(struct machine *m, const struct machine_at *at, const struct command *cmd,
                     struct machine_result *r)
{
    static const char *const uses[] = { "", ", used", ", drained", ", disabled" };
    const struct command_ip_set *c = &cmd->ip_set;
    struct ip *ip = directory_ip_find(m, c->address);
    if (!ip_set_ok(m, c, ip, r))
        return 0;
    bool fresh = ip == NULL;
    int err = ip == NULL ? ip_new(m, at, c, &ip) : 0;
    if (err != 0)
        return err;
    store_touch(m->store, &ip->rec);
    if (c->pool.n != 0)
        err = directory_text_set(&ip->pool, c->pool);
    if (err == 0 && c->ehlo.n != 0)
        err = directory_text_set(&ip->ehlo, c->ehlo);
    if (err != 0)
        return err;
    if (c->weight != 0)
        ip->weight = c->weight;
    if (c->use != 0)
        ip->use = c->use;
    ip->version = r->id = at->id;
    directory_ip_tell(m, at, ip);
    err = directory_lodging_sync(m, at, ip, fresh);
    if (err != 0)
        return err;
    directory_ip_settle(m, at, ip, 0);
    return directory_audit(m, at, &c->by, "%s address %.*s: pool %.*s, weight %u%s",
                           c->create ? "new" : "changed", S(c->address), S(ip->pool), ip->weight,
                           uses[c->use]);
}

int directory_ip_move(struct machine *m, const struct machine_at *at, const struct command *cmd,
                      struct machine_result *r)
{
    const struct command_ip_move *c = &cmd->ip_move;
    char node[DIRECTORY_MEMBER_TEXT];
    struct ip *ip = directory_ip_find(m, c->address);
    if (ip == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no address %.*s", S(c->address));
    if (cmd->type == COMMAND_IP_MOVE_DEAD && directory_lodging_find(m, c->address) == NULL)
        return REFUSE(r, ERR_BAD, "address %.*s is bound to its machine: its pool does not float",
                      S(c->address));
    if (ip->next == DIRECTORY_NOBODY)
        return being_removed(r, ip);
    if (directory_stale(&c->by, ip->version))
        return stale_ip(m, r, ip);
    if (ip->node != c->node && !node_ok(m, c->node, r))
        return 0;
    uint64_t unsure = ip->node == 0 ? directory_lodging_unsure(m, ip) : 0;
    if (cmd->type == COMMAND_IP_MOVE_DEAD)
        directory_lodging_released(m, ip);
    else if (unsure != 0 && unsure != c->node)
        return REFUSE(
            r, ERR_DENIED,
            "%s was lost before it knew that address %.*s floats, and may still send from it: bring it "
            "back, or, if its machine is off for sure, say so with --dead",
            directory_member_text(m, unsure, node), S(c->address));
    store_touch(m->store, &ip->rec);
    directory_lodging_placed(m, ip);
    if (ip->node == c->node) {
        /* Back to where it is. Nobody else has had it, so this is safe even if it was released meanwhile. */
        ip->next = ip->move = ip->released = 0;
    } else {
        /* A revoke that is under way stays the same one, with what was released for it. */
        if (ip->next == 0) {
            ip->move = at->id;
            ip->released = 0;
        }
        ip->next = c->node;
    }
    ip->version = at->id;
    r->id = ip->move;
    directory_ip_tell(m, at, ip);
    directory_ip_settle(m, at, ip, 0);
    return directory_audit(m, at, &c->by, "address %.*s goes to %s%s", S(c->address),
                           directory_member_text(m, c->node, node),
                           cmd->type == COMMAND_IP_MOVE_DEAD ? ": its owner's machine is off" : "");
}

int directory_ip_released(struct machine *m, const struct machine_at *at, const struct command *cmd,
                          struct machine_result *r)
{
    const struct command_ip_released *c = &cmd->ip_released;
    struct ip *ip = directory_ip_find(m, c->address);
    if (ip == NULL || ip->node == 0 || ip->next == 0 || ip->move != c->moved)
        return REFUSE(r, ERR_NOT_FOUND, "address %.*s is not asked for by that move any more", S(c->address));
    if (directory_asker(m, cmd) != ip->node)
        return REFUSE(r, ERR_DENIED, "address %.*s is another node's", S(c->address));
    store_touch(m->store, &ip->rec);
    ip->released = cmd->origin.session;
    directory_lodging_released(m, ip);
    directory_ip_settle(m, at, ip, 0);
    return 0;
}

int directory_ip_remove(struct machine *m, const struct machine_at *at, const struct command *cmd,
                        struct machine_result *r)
{
    const struct command_name *c = &cmd->name;
    struct ip *ip = directory_ip_find(m, c->name);
    if (ip == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no address %.*s", S(c->name));
    if (directory_stale(&c->by, ip->version))
        return stale_ip(m, r, ip);
    if (ip->next == DIRECTORY_NOBODY)
        return 0;
    directory_ip_tell(m, at, ip);
    if (ip->node == 0) {
        directory_warmup_gone(m, at, ip->address);
        directory_lodging_drop(m, ip);
        directory_drop(m, &m->directory->ips, &ip->rec);
    } else {
        store_touch(m->store, &ip->rec);
        if (ip->next == 0) {
            ip->move = at->id;
            ip->released = 0;
        }
        ip->next = DIRECTORY_NOBODY;
        ip->version = at->id;
        r->id = ip->move;
        directory_ip_settle(m, at, ip, 0);
    }
    return directory_audit(m, at, &c->by, "removed address %.*s", S(c->name));
}

/* ---- reading ------------------------------------------------------------------------------------------- */

bool directory_ip_exists(const struct machine *m, struct span address)
{
    return directory_ip_find(m, address) != NULL;
}

bool directory_ip_sends(const struct machine *m, struct span address, uint64_t node)
{
    const struct ip *ip = directory_ip_find(m, address);
    return ip != NULL && node != 0 && ip->node == node && ip->next == 0;
}

uint64_t directory_pool_addresses(const struct machine *m, struct span pool, struct span *address)
{
    uint64_t n = 0;
    LIST_EACH(link, store_all(m->store, &directory_ip_type))
    {
        const struct ip *ip = LIST_ITEM(link, struct ip, rec.link);
        if (span_eq(ip->pool, pool) && n++ == 0)
            *address = ip->address;
    }
    return n;
}

static struct directory_ip view(const struct machine *m, const struct ip *ip)
{
    struct directory_ip v = { .address = ip->address,
                              .pool = ip->pool,
                              .ehlo = ip->ehlo,
                              .node = ip->node,
                              .next = ip->next,
                              .move = ip->move,
                              .weight = ip->weight,
                              .use = ip->use,
                              .version = ip->version };
    const struct lodging *l = directory_lodging_find(m, ip->address);
    if (l != NULL) {
        v.floats = true;
        v.unsure = l->unsure;
        v.home = l->home;
        v.lost_ms = l->lost == 0 ? 0 : l->lost_ms;
        v.claim = l->claim;
        v.hook = l->hook;
        v.hook_words = l->words;
    }
    return v;
}

int directory_ip_each(const struct machine *m, directory_ip_fn *fn, void *arg)
{
    struct directory_place at = { 0 };
    int stop = 0;
    for (const struct store_rec *rec;
         stop == 0 && (rec = directory_index_next(&m->directory->ips, &at)) != NULL;) {
        struct directory_ip v = view(m, (const struct ip *)rec);
        stop = fn(arg, &v);
    }
    return stop;
}
