/* Floating addresses: which pools' addresses move when their node is lost, and where each of them stands.
 *
 *     bound     the pool's addresses stay on their machines, whatever an operator does not move
 *     floating  a node stops using the address when its session ends; so it may be given to another then
 *
 * (!) A node stops with its session only if it knows that the address floats. One that owns it while its pool
 * begins to float is `unsure` until it has said that it obeys that command; if it is lost before, the address
 * goes nowhere but back to it, unless an operator says that its machine is off.
 *
 * The leader moves addresses of automatic pools by commands of its own, each of which names the loss (or the
 * claim) that it answers: a late one finds another and changes nothing. From feature level 4 on.
 */
#include "consensus/directory_floating.h"

#include "base/ensure.h"

#include <errno.h>
#include <stdlib.h>

#define FLOATING_FEATURE 4
#define FLOATING_NEW_FEATURE 5 /* an address that nobody has had yet is lost while its node has no session, too */
#define AFTER_MIN_MS 1000
#define AFTER_MAX_MS (7ull * 86400000)

struct floating {
    struct store_rec rec;
    struct span pool, nodes;
    uint8_t mode;
    bool back;
    uint32_t per_node;
    uint64_t after_ms;
};

static struct span floating_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return ((const struct floating *)rec)->pool;
}

static void floating_encode(const struct store_rec *rec, struct buf *out)
{
    const struct floating *f = (const struct floating *)rec;
    (void)buf_put_counted(out, f->pool);
    (void)buf_put_counted(out, f->nodes);
    (void)buf_put_u8(out, f->mode);
    (void)buf_put_u8(out, f->back ? 1 : 0);
    (void)buf_put_u32(out, f->per_node);
    (void)buf_put_u64(out, f->after_ms);
}

static void floating_free(struct store_rec *rec)
{
    struct floating *f = (struct floating *)rec;
    directory_texts_free(TEXTS(&f->pool, &f->nodes));
    free(f);
}

static int floating_decode(struct cursor *c, struct store_rec **out)
{
    struct floating *f = calloc(1, sizeof *f);
    if (f == NULL)
        return -ENOMEM;
    int err = directory_texts_decode(c, TEXTS(&f->pool, &f->nodes));
    f->mode = cursor_u8(c);
    uint8_t back = cursor_u8(c);
    f->back = back == 1;
    f->per_node = cursor_u32(c);
    f->after_ms = cursor_u64(c);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 &&
        (f->pool.n == 0 || f->pool.n > COMMAND_NAME_MAX || back > 1 || f->mode < COMMAND_FLOATING_OPERATOR ||
         f->mode > COMMAND_FLOATING_AUTOMATIC || f->after_ms > AFTER_MAX_MS))
        err = ERR_CORRUPT;
    if (err != 0)
        floating_free(&f->rec);
    else
        *out = &f->rec;
    return err;
}

const struct store_type directory_floating_type = {
    60, "floating", floating_key, floating_encode, floating_decode, floating_free
};

static struct floating *floating_find(const struct machine *m, struct span pool)
{
    return (struct floating *)store_find(m->store, &directory_floating_type, pool);
}

struct directory_floating directory_floating(const struct machine *m, struct span pool)
{
    const struct floating *f = floating_find(m, pool);
    if (f == NULL)
        return (struct directory_floating){ .mode = COMMAND_FLOATING_NEVER };
    return (struct directory_floating){ f->mode, f->back, f->per_node, f->after_ms, f->nodes };
}

void directory_floating_drop(struct machine *m, struct span pool)
{
    struct floating *f = floating_find(m, pool);
    if (f != NULL)
        store_remove(m->store, &f->rec);
}

/* ---- each address -------------------------------------------------------------------------------------- */

static struct span lodging_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return ((const struct lodging *)rec)->address;
}

static void lodging_encode(const struct store_rec *rec, struct buf *out)
{
    const struct lodging *l = (const struct lodging *)rec;
    const uint64_t numbers[] = { l->unsure, l->since, l->home, l->home_ms, l->lost, l->lost_ms, l->claim };
    (void)buf_put_counted(out, l->address);
    (void)buf_put_counted(out, l->words);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        (void)buf_put_u64(out, numbers[i]);
    (void)buf_put_u8(out, l->hook);
}

static void lodging_free(struct store_rec *rec)
{
    struct lodging *l = (struct lodging *)rec;
    directory_texts_free(TEXTS(&l->address, &l->words));
    free(l);
}

static int lodging_decode(struct cursor *c, struct store_rec **out)
{
    struct lodging *l = calloc(1, sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    uint64_t *const numbers[] = { &l->unsure, &l->since,   &l->home, &l->home_ms,
                                  &l->lost,   &l->lost_ms, &l->claim };
    int err = directory_texts_decode(c, TEXTS(&l->address, &l->words));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        *numbers[i] = cursor_u64(c);
    l->hook = cursor_u8(c);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && (l->address.n == 0 || l->address.n > COMMAND_NAME_MAX || l->hook > COMMAND_HOOK_FAILED ||
                     l->words.n > COMMAND_HOOK_WORDS_MAX))
        err = ERR_CORRUPT;
    if (err != 0)
        lodging_free(&l->rec);
    else
        *out = &l->rec;
    return err;
}

const struct store_type directory_lodging_type = {
    61, "lodging", lodging_key, lodging_encode, lodging_decode, lodging_free
};

struct lodging *directory_lodging_find(const struct machine *m, struct span address)
{
    if (store_len(m->store, &directory_lodging_type) == 0)
        return NULL;
    return (struct lodging *)store_find(m->store, &directory_lodging_type, address);
}

static void set_unsure(struct machine *m, struct lodging *l, uint64_t node)
{
    store_touch(m->store, &l->rec);
    m->directory->unsure += (node != 0 ? 1u : 0u) - (l->unsure != 0 ? 1u : 0u);
    l->unsure = node;
}

void directory_floating_restored(struct machine *m)
{
    m->directory->unsure = 0;
    LIST_EACH(link, store_all(m->store, &directory_lodging_type))
    m->directory->unsure += LIST_ITEM(link, struct lodging, rec.link)->unsure != 0;
}

void directory_lodging_drop(struct machine *m, const struct ip *ip)
{
    struct lodging *l = directory_lodging_find(m, ip->address);
    if (l == NULL)
        return;
    set_unsure(m, l, 0);
    store_remove(m->store, &l->rec);
}

int directory_lodging_sync(struct machine *m, const struct machine_at *at, const struct ip *ip, bool fresh)
{
    struct lodging *l = directory_lodging_find(m, ip->address);
    bool floats = floating_find(m, ip->pool) != NULL;
    if (floats == (l != NULL))
        return 0;
    if (!floats) {
        directory_lodging_drop(m, ip);
        return 0;
    }
    l = calloc(1, sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    int err = directory_text_set(&l->address, ip->address);
    if (err == 0)
        err = store_add(m->store, &directory_lodging_type, &l->rec);
    if (err != 0) {
        lodging_free(&l->rec);
        return err;
    }
    l->since = l->claim = at->id;
    if (ip->node == 0 && (!fresh || directory_features(m) >= FLOATING_NEW_FEATURE)) {
        l->lost = at->id;
        l->lost_ms = at->now_ms;
    }
    /* Without an owner, it was bound to where it would come back to. */
    uint64_t was = ip->node != 0 ? ip->node : ip->next;
    if (fresh || was == 0 || was == DIRECTORY_NOBODY)
        return 0;
    set_unsure(m, l, was);
    /* What a node publishes is an index whose frozen list its workers have: so they have to have this one's.
     */
    machine_changed(m, MACHINE_CHANGED_FROZEN, at->id, SPAN_LIT(""));
    return 0;
}

void directory_lodging_vacated(struct machine *m, const struct machine_at *at, const struct ip *ip)
{
    struct lodging *l = directory_lodging_find(m, ip->address);
    if (l == NULL)
        return;
    store_touch(m->store, &l->rec);
    l->lost = at->id;
    l->lost_ms = at->now_ms;
}

void directory_lodging_owned(struct machine *m, const struct machine_at *at, const struct ip *ip)
{
    struct lodging *l = directory_lodging_find(m, ip->address);
    if (l == NULL)
        return;
    store_touch(m->store, &l->rec);
    l->lost = l->lost_ms = 0;
    l->claim = at->id;
    l->hook = 0;
    directory_text_free(&l->words);
    if (l->home == ip->node)
        l->home = l->home_ms = 0;
}

void directory_lodging_placed(struct machine *m, const struct ip *ip)
{
    struct lodging *l = directory_lodging_find(m, ip->address);
    if (l == NULL)
        return;
    store_touch(m->store, &l->rec);
    l->home = l->home_ms = 0;
}

uint64_t directory_lodging_unsure(const struct machine *m, const struct ip *ip)
{
    const struct lodging *l = directory_lodging_find(m, ip->address);
    return l == NULL ? 0 : l->unsure;
}

uint64_t directory_lodging_waits_for(const struct machine *m, const struct ip *ip)
{
    uint64_t unsure = directory_lodging_unsure(m, ip);
    return unsure == ip->next ? 0 : unsure;
}

void directory_lodging_released(struct machine *m, const struct ip *ip)
{
    struct lodging *l = directory_lodging_find(m, ip->address);
    if (l != NULL && l->unsure != 0)
        set_unsure(m, l, 0);
}

void directory_session_obeys(struct machine *m, uint64_t node, uint64_t index)
{
    if (m->directory->unsure == 0)
        return;
    LIST_EACH(link, store_all(m->store, &directory_lodging_type))
    {
        struct lodging *l = LIST_ITEM(link, struct lodging, rec.link);
        if (l->unsure == node && l->since / COMMAND_ENTRY_MAX <= index)
            set_unsure(m, l, 0);
    }
}

void directory_floating_session(struct machine *m, const struct machine_at *at, uint64_t node,
                                uint64_t session)
{
    LIST_EACH(link, store_all(m->store, &directory_lodging_type))
    {
        struct lodging *l = LIST_ITEM(link, struct lodging, rec.link);
        if (l->home != node)
            continue;
        store_touch(m->store, &l->rec);
        l->home_ms = session == 0 ? 0 : at->now_ms;
    }
}

void directory_lodgings_member_removed(struct machine *m, uint64_t node)
{
    LIST_EACH(link, store_all(m->store, &directory_lodging_type))
    {
        struct lodging *l = LIST_ITEM(link, struct lodging, rec.link);
        if (l->home != node)
            continue;
        store_touch(m->store, &l->rec);
        l->home = l->home_ms = 0;
    }
}

/* ---- where it may go ----------------------------------------------------------------------------------- */

static uint64_t holder(const struct ip *ip)
{
    return ip->next != 0 && ip->next != DIRECTORY_NOBODY ? ip->next : ip->node;
}

/* Addresses of the pool (empty: of all) that the node has or is to have, but for one. */
static uint32_t count_of(const struct machine *m, uint64_t node, struct span pool, const struct ip *but)
{
    uint32_t n = 0;
    LIST_EACH(link, store_all(m->store, &directory_ip_type))
    {
        const struct ip *ip = LIST_ITEM(link, struct ip, rec.link);
        n += ip != but && holder(ip) == node && (pool.n == 0 || span_eq(ip->pool, pool));
    }
    return n;
}

/* It serves, and has room for one more of the pool. */
static bool takes(const struct machine *m, uint64_t node, const struct floating *f, const struct ip *ip)
{
    const struct directory_member_rec *mb = directory_member_get(m, node);
    return mb != NULL && mb->state == COMMAND_MEMBER_ACTIVE && mb->session != 0 &&
           (f->per_node == 0 || count_of(m, node, f->pool, ip) < f->per_node);
}

/* Its owner is lost for good, as far as the pool is concerned. */
static bool is_lost(const struct ip *ip, const struct lodging *l)
{
    return ip->node == 0 && ip->next != DIRECTORY_NOBODY && l->lost != 0 && l->unsure == 0;
}

static bool may_return(const struct ip *ip, const struct lodging *l, const struct floating *f)
{
    return f->back && l->home != 0 && l->home_ms != 0 && ip->node != 0 && ip->next == 0;
}

static bool is_named(struct span names, struct span name)
{
    for (size_t i = 0; i <= names.n;) {
        const char *comma = i < names.n ? memchr(names.p + i, ',', names.n - i) : NULL;
        size_t n = comma == NULL ? names.n - i : (size_t)(comma - names.p) - i;
        if (span_eq(span_of(names.p + i, n), name))
            return true;
        i += n + 1;
    }
    return false;
}

struct candidate {
    uint64_t node;
    uint32_t load; /* addresses that it has, and those of this round */
};

/* Whom the pool names before others; then who has fewest. NULL: nobody can have it. */
static struct candidate *choose(const struct machine *m, const struct ip *ip, const struct floating *f,
                                struct candidate *c, uint32_t n)
{
    struct candidate *best = NULL;
    bool best_named = false;
    for (uint32_t i = 0; i < n; i++) {
        const struct directory_member_rec *mb = directory_member_get(m, c[i].node);
        if (!takes(m, c[i].node, f, ip))
            continue;
        bool named = is_named(f->nodes, mb->name);
        if (best == NULL || (named && !best_named) || (named == best_named && c[i].load < best->load)) {
            best = &c[i];
            best_named = named;
        }
    }
    return best;
}

static uint32_t candidates(const struct machine *m, struct candidate *c, uint32_t max)
{
    uint32_t n = 0;
    LIST_EACH(link, store_all(m->store, &directory_member_type))
    {
        const struct directory_member_rec *mb = LIST_ITEM(link, struct directory_member_rec, rec.link);
        if (n < max && mb->state == COMMAND_MEMBER_ACTIVE && mb->session != 0)
            c[n++] = (struct candidate){ mb->id, count_of(m, mb->id, span_of("", 0), NULL) };
    }
    return n;
}

static int propose(const struct lodging *l, uint64_t lost, uint64_t node, struct buf *out, uint32_t *n)
{
    struct command cmd = { .type = COMMAND_IP_FLOAT,
                           .ip_float = { .address = l->address, .lost = lost, .node = node } };
    int err = command_encode(&cmd, out);
    *n += err == 0;
    return err;
}

int directory_floating_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n)
{
    struct candidate c[64];
    uint32_t nc = 0, begun = *n;
    bool counted = false;
    LIST_EACH(link, store_all(m->store, &directory_lodging_type))
    {
        const struct lodging *l = LIST_ITEM(link, struct lodging, rec.link);
        if (l->lost == 0 && l->home == 0)
            continue;
        const struct ip *ip = directory_ip_find(m, l->address);
        const struct floating *f = ip == NULL ? NULL : floating_find(m, ip->pool);
        int err = 0;
        if (f == NULL || f->mode != COMMAND_FLOATING_AUTOMATIC)
            continue;
        if (is_lost(ip, l) && now_ms >= l->lost_ms + f->after_ms) {
            if (!counted)
                nc = candidates(m, c, sizeof c / sizeof c[0]);
            counted = true;
            struct candidate *to = choose(m, ip, f, c, nc);
            if (to == NULL)
                continue;
            to->load++;
            err = propose(l, l->lost, to->node, out, n);
        } else if (may_return(ip, l, f) && now_ms >= l->home_ms + f->after_ms && takes(m, l->home, f, ip)) {
            err = propose(l, l->claim, l->home, out, n);
        }
        if (err != 0 || *n - begun >= DIRECTORY_DUE_MAX)
            return err;
    }
    return 0;
}

/* ---- the commands ---------------------------------------------------------------------------------------
 */

static bool too_early(const struct machine *m, struct machine_result *r)
{
    if (directory_features(m) >= FLOATING_FEATURE)
        return false;
    machine_refuse(
        r, ERR_DENIED,
        "the cluster's feature level is %u, floating addresses need %d: see `turnpike cluster raise`",
        directory_features(m), FLOATING_FEATURE);
    return true;
}

static bool floating_ok(const struct machine *m, const struct command_pool_floating *c,
                        struct machine_result *r)
{
    if (too_early(m, r))
        return false;
    if (!directory_pool_exists(m, c->name))
        machine_refuse(r, ERR_NOT_FOUND, "there is no pool %.*s: make it first", S(c->name));
    else if (c->mode == COMMAND_FLOATING_AUTOMATIC &&
             (c->after_ms < AFTER_MIN_MS || c->after_ms > AFTER_MAX_MS))
        machine_refuse(r, ERR_BAD, "addresses move after 1s to 7d, not after %llu ms",
                       (unsigned long long)c->after_ms);
    else if (c->mode != COMMAND_FLOATING_AUTOMATIC && (c->back || c->per_node != 0 || c->nodes.n != 0))
        machine_refuse(r, ERR_BAD, "where addresses move to is for automatic pools only");
    else if (!directory_text_ok(c->nodes))
        machine_refuse(r, ERR_BAD, "names of nodes have no control characters");
    return r->err == 0;
}

static int floating_set(struct machine *m, const struct command_pool_floating *c)
{
    struct floating *f = floating_find(m, c->name);
    bool new = f == NULL;
    if (new && (f = calloc(1, sizeof *f)) == NULL)
        return -ENOMEM;
    if (!new)
        store_touch(m->store, &f->rec);
    f->mode = c->mode;
    f->back = c->back;
    f->per_node = c->per_node;
    f->after_ms = c->mode == COMMAND_FLOATING_AUTOMATIC ? c->after_ms : 0;
    int err = directory_text_set(&f->nodes, c->nodes);
    if (err == 0 && new)
        err = directory_text_set(&f->pool, c->name);
    if (err == 0 && new)
        err = store_add(m->store, &directory_floating_type, &f->rec);
    if (err != 0 && new)
        floating_free(&f->rec);
    return err;
}

int directory_pool_floating(struct machine *m, const struct machine_at *at, const struct command *cmd,
                            struct machine_result *r)
{
    static const char *const modes[] = { "", "never", "when an operator says so", "by themselves" };
    const struct command_pool_floating *c = &cmd->pool_floating;
    int err = 0;
    if (!floating_ok(m, c, r))
        return 0;
    if (c->mode == COMMAND_FLOATING_NEVER)
        directory_floating_drop(m, c->name);
    else
        err = floating_set(m, c);
    LIST_EACH(link, store_all(m->store, &directory_ip_type))
    {
        const struct ip *ip = LIST_ITEM(link, struct ip, rec.link);
        if (err == 0 && span_eq(ip->pool, c->name))
            err = directory_lodging_sync(m, at, ip, false);
    }
    if (err != 0)
        return err;
    r->id = at->id;
    machine_changed(m, MACHINE_CHANGED_POOLS, at->id, (struct span){ 0 });
    directory_ips_settle(m, at, 0);
    return directory_audit(m, at, &c->by, "addresses of pool %.*s float %s", S(c->name), modes[c->mode]);
}

/* It is asked for, as by an operator's move. */
static void ask_back(const struct machine_at *at, struct ip *ip, uint64_t node)
{
    ip->next = node;
    ip->move = at->id;
    ip->released = 0;
}

int directory_ip_float(struct machine *m, const struct machine_at *at, const struct command *cmd,
                       struct machine_result *r)
{
    static const struct command_by by = { .who = { "cluster", 7 } };
    const struct command_ip_float *c = &cmd->ip_float;
    struct ip *ip = directory_ip_find(m, c->address);
    struct lodging *l = directory_lodging_find(m, c->address);
    const struct floating *f = ip == NULL ? NULL : floating_find(m, ip->pool);
    if (too_early(m, r))
        return 0;
    if (cmd->origin.session != 0)
        return REFUSE(r, ERR_DENIED, "addresses float by the leader's word alone");
    if (l == NULL || f == NULL || f->mode != COMMAND_FLOATING_AUTOMATIC || !takes(m, c->node, f, ip))
        return REFUSE(r, ERR_NOT_FOUND, "address %.*s does not float there any more", S(c->address));
    char from[DIRECTORY_MEMBER_TEXT], to[DIRECTORY_MEMBER_TEXT];
    if (is_lost(ip, l) && l->lost == c->lost) {
        uint64_t was = ip->next;
        store_touch(m->store, &l->rec);
        store_touch(m->store, &ip->rec);
        if (l->home == 0)
            l->home = was;
        ip->next = c->node;
        ip->version = r->id = at->id;
        directory_ip_tell(m, at, ip);
        directory_ip_settle(m, at, ip, 0);
        return directory_audit(m, at, &by, "address %.*s goes from %s, which is lost, to %s", S(c->address),
                               was == 0 ? "a node" : directory_member_text(m, was, from),
                               directory_member_text(m, c->node, to));
    }
    if (!may_return(ip, l, f) || l->claim != c->lost || l->home != c->node)
        return REFUSE(r, ERR_NOT_FOUND, "address %.*s has an owner again", S(c->address));
    store_touch(m->store, &ip->rec);
    ask_back(at, ip, c->node);
    ip->version = r->id = at->id;
    directory_ip_tell(m, at, ip);
    directory_ip_settle(m, at, ip, 0);
    return directory_audit(m, at, &by, "address %.*s goes back to %s", S(c->address),
                           directory_member_text(m, c->node, to));
}

int directory_ip_hook(struct machine *m, const struct machine_at *at, const struct command *cmd,
                      struct machine_result *r)
{
    const struct command_ip_hook *c = &cmd->ip_hook;
    const struct ip *ip = directory_ip_find(m, c->address);
    struct lodging *l = directory_lodging_find(m, c->address);
    if (too_early(m, r))
        return 0;
    if (ip == NULL || l == NULL || l->claim != c->claim || directory_asker(m, cmd) != ip->node ||
        ip->node == 0)
        return REFUSE(r, ERR_NOT_FOUND, "address %.*s has another owner", S(c->address));
    if (!directory_text_ok(c->words))
        return REFUSE(r, ERR_BAD, "the hook's words have control characters");
    store_touch(m->store, &l->rec);
    l->hook = c->state;
    int err = directory_text_set(&l->words, c->words);
    if (err == 0)
        directory_ip_tell(m, at, ip);
    return err;
}
