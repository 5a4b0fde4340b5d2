/* Who may log in to the dashboard, in what role, and who is logged in. A login is known by a hash of the
 * secret that the browser has, so that any node can tell whether it is one, and nobody can make one from what
 * is stored.
 *
 * Logins end by the wall clock, which the nodes look at; here it only says which of them make room for a new
 * one. With its operator's password, or the operator, its logins go. From feature level 6 on.
 */
#include "base/ensure.h"
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdlib.h>

#define OPERATOR_FEATURE 6

/* ---- operators ----------------------------------------------------------------------------------------- */

struct operator
{
    struct store_rec rec;
    struct span name, hash;
    uint8_t role;
    int64_t wall_ms;
    uint64_t version;
};
#define OPERATOR_TEXTS(o) TEXTS(&(o)->name, &(o)->hash)

static struct span operator_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return ((const struct operator*)rec)->name;
}

static void operator_encode(const struct store_rec *rec, struct buf *out)
{
    const struct operator* o =(const struct operator*) rec;
    (void)buf_put_counted(out, o->name);
    (void)buf_put_counted(out, o->hash);
    (void)buf_put_u8(out, o->role);
    (void)buf_put_u64(out, (uint64_t)o->wall_ms);
    (void)buf_put_u64(out, o->version);
}

static void operator_free(struct store_rec *rec)
{
    struct operator* o =(struct operator*) rec;
    directory_texts_free(OPERATOR_TEXTS(o));
    free(o);
}

static int operator_decode(struct cursor *c, struct store_rec **out)
{
    struct operator* o = calloc(1, sizeof *o);
    if (o == NULL)
        return -ENOMEM;
    int err = directory_texts_decode(c, OPERATOR_TEXTS(o));
    o->role = cursor_u8(c);
    o->wall_ms = (int64_t)cursor_u64(c);
    o->version = cursor_u64(c);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && (!directory_account_name_ok(o->name) || o->name.n > COMMAND_NAME_MAX || o->hash.n == 0 ||
                     !directory_text_ok(o->hash) || o->hash.n > COMMAND_TEXT_MAX || o->role == 0 ||
                     o->role > COMMAND_ROLE_ADMIN))
        err = ERR_CORRUPT;
    if (err != 0)
        operator_free(&o->rec);
    else
        *out = &o->rec;
    return err;
}

const struct store_type directory_operator_type = {
    190, "operator", operator_key, operator_encode, operator_decode, operator_free
};

static struct operator* operator_find(const struct machine *m, struct span name)
{
    return (struct operator*)store_find(m->store, &directory_operator_type, name);
}

/* ---- logins -------------------------------------------------------------------------------------------- */

struct login {
    struct store_rec rec;
    uint8_t id[32];
    struct span name, who;
    int64_t wall_ms;
    uint64_t until_ms, ends_ms; /* wall clock */
};
#define LOGIN_TEXTS(l) TEXTS(&(l)->name, &(l)->who)

static struct span login_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    const struct login *l = (const struct login *)rec;
    return span_of((const char *)l->id, sizeof l->id);
}

static void login_encode(const struct store_rec *rec, struct buf *out)
{
    const struct login *l = (const struct login *)rec;
    (void)buf_put(out, l->id, sizeof l->id);
    (void)buf_put_counted(out, l->name);
    (void)buf_put_counted(out, l->who);
    (void)buf_put_u64(out, (uint64_t)l->wall_ms);
    (void)buf_put_u64(out, l->until_ms);
    (void)buf_put_u64(out, l->ends_ms);
}

static void login_free(struct store_rec *rec)
{
    struct login *l = (struct login *)rec;
    directory_texts_free(LOGIN_TEXTS(l));
    free(l);
}

static int login_decode(struct cursor *c, struct store_rec **out)
{
    struct login *l = calloc(1, sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    struct span id = cursor_bytes(c, sizeof l->id);
    int err = directory_texts_decode(c, LOGIN_TEXTS(l));
    l->wall_ms = (int64_t)cursor_u64(c);
    l->until_ms = cursor_u64(c);
    l->ends_ms = cursor_u64(c);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && (!directory_account_name_ok(l->name) || l->name.n > COMMAND_NAME_MAX ||
                     !directory_text_ok(l->who) || l->until_ms > l->ends_ms))
        err = ERR_CORRUPT;
    if (err != 0) {
        login_free(&l->rec);
        return err;
    }
    memcpy(l->id, id.p, sizeof l->id);
    *out = &l->rec;
    return 0;
}

const struct store_type directory_login_type = { 191,          "login",      login_key,
                                                 login_encode, login_decode, login_free };

static struct login *login_find(const struct machine *m, const uint8_t id[32])
{
    return (struct login *)store_find(m->store, &directory_login_type, span_of((const char *)id, 32));
}

/* Of one operator (empty: of all) how many there are, and the one that ends first. */
static struct login *first_to_end(const struct machine *m, struct span name, uint32_t *n)
{
    struct directory_place at = directory_index_after(&m->directory->logins, span_of("", 0));
    struct login *first = NULL, *l;
    *n = 0;
    while ((l = (struct login *)directory_index_next(&m->directory->logins, &at)) != NULL) {
        if (name.n > 0 && !span_eq(l->name, name))
            continue;
        ++*n;
        if (first == NULL || l->until_ms < first->until_ms)
            first = l;
    }
    return first;
}

/* Those of an operator, or those that have ended. */
static uint32_t drop_logins(struct machine *m, struct span name, uint64_t wall_ms)
{
    uint32_t dropped = 0, n;
    for (struct login *l; (l = first_to_end(m, name, &n)) != NULL && (name.n > 0 || l->until_ms <= wall_ms);
         dropped++)
        directory_drop(m, &m->directory->logins, &l->rec);
    return dropped;
}

/* ---- the commands -------------------------------------------------------------------------------------- */

static bool too_early(const struct machine *m, struct machine_result *r)
{
    if (directory_features(m) >= OPERATOR_FEATURE)
        return false;
    machine_refuse(r, ERR_DENIED,
                   "the cluster's feature level is %u, operators need %d: see `turnpike cluster raise`",
                   directory_features(m), OPERATOR_FEATURE);
    return true;
}

static int set_refused(const struct machine *m, const struct command_operator_set *c,
                       const struct operator* o, struct machine_result *r)
{
    uint8_t role = c->role != 0 || o == NULL ? c->role : o->role;
    if (!directory_account_name_ok(c->name))
        return machine_refuse(r, ERR_BAD, "an operator's name has no blanks, capitals, nor any of : \" , \\");
    if (!directory_text_ok(c->hash) || !directory_text_ok(c->by.who))
        return machine_refuse(r, ERR_BAD, "a text has control characters");
    if (c->create && o != NULL)
        return machine_refuse(r, ERR_EXISTS, "there is an operator %.*s already", S(c->name));
    if (!c->create && o == NULL)
        return machine_refuse(r, ERR_NOT_FOUND, "there is no operator %.*s", S(c->name));
    if (o == NULL && (c->hash.n == 0 || role == 0))
        return machine_refuse(r, ERR_BAD, "a new operator needs a password and a role");
    if (o != NULL && directory_stale(&c->by, o->version))
        return machine_refuse(r, ERR_BUSY, "operator %.*s was changed meanwhile", S(c->name));
    if (o == NULL && m->directory->operators.len >= DIRECTORY_OPERATORS_MAX)
        return machine_refuse(r, ERR_LIMIT, "there are %d operators, which is the most",
                              DIRECTORY_OPERATORS_MAX);
    return 0;
}

static const char *role_word(uint8_t role)
{
    static const char *const words[] = { "as it is", "viewer", "postmaster", "admin" };
    return role < sizeof words / sizeof words[0] ? words[role] : "?";
}

static int operator_new(struct machine *m, const struct command_operator_set *c, struct operator** out)
{
    struct operator* o = calloc(1, sizeof *o);
    if (o == NULL)
        return -ENOMEM;
    int err = directory_texts_copy(OPERATOR_TEXTS(o), (struct span[]){ c->name, c->hash });
    o->role = c->role;
    if (err == 0)
        err = directory_add(m, &m->directory->operators, &o->rec);
    if (err != 0)
        operator_free(&o->rec);
    *out = o;
    return err;
}

int directory_operator_set(struct machine *m, const struct machine_at *at, const struct command *cmd,
                           struct machine_result *r)
{
    const struct command_operator_set *c = &cmd->operator_set;
    if (too_early(m, r))
        return 0;
    struct operator* o = operator_find(m, c->name);
    if (set_refused(m, c, o, r) != 0)
        return 0;
    int err = 0;
    if (o == NULL) {
        err = operator_new(m, c, &o);
    } else {
        store_touch(m->store, &o->rec);
        if (c->role != 0) {
            o->role = c->role;
        }
        if (err == 0 && c->hash.n > 0) {
            err = directory_text_set(&o->hash, c->hash);
            drop_logins(m, c->name, 0);
        }
    }
    if (err != 0)
        return err;
    o->wall_ms = c->by.wall_ms;
    o->version = at->id;
    r->id = at->id;
    return directory_audit(m, at, &c->by, "operator %.*s: role %s%s", S(c->name), role_word(c->role),
                           c->hash.n > 0 ? ", a new password" : "");
}

int directory_operator_remove(struct machine *m, const struct machine_at *at, const struct command *cmd,
                              struct machine_result *r)
{
    const struct command_name *c = &cmd->name;
    if (too_early(m, r))
        return 0;
    struct operator* o = operator_find(m, c->name);
    if (o == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no operator %.*s", S(c->name));
    if (directory_stale(&c->by, o->version))
        return REFUSE(r, ERR_BUSY, "operator %.*s was changed meanwhile", S(c->name));
    drop_logins(m, c->name, 0);
    directory_drop(m, &m->directory->operators, &o->rec);
    return directory_audit(m, at, &c->by, "operator %.*s removed", S(c->name));
}

static int login_open(struct machine *m, const struct machine_at *at, const struct command_login_set *c,
                      struct machine_result *r)
{
    uint32_t n;
    if (login_find(m, c->id) != NULL)
        return REFUSE(r, ERR_EXISTS, "there is such a login");
    if (c->until_ms > c->ends_ms || c->ends_ms > INT64_MAX || !directory_text_ok(c->by.who))
        return REFUSE(r, ERR_BAD, "no login");
    struct login *l = calloc(1, sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    memcpy(l->id, c->id, sizeof l->id);
    l->wall_ms = c->by.wall_ms;
    l->until_ms = c->until_ms;
    l->ends_ms = c->ends_ms;
    int err = directory_texts_copy(LOGIN_TEXTS(l), (struct span[]){ c->name, c->by.who });
    if (err == 0) {
        drop_logins(m, span_of("", 0), c->by.wall_ms > 0 ? (uint64_t)c->by.wall_ms : 0);
        struct login *old = first_to_end(m, c->name, &n);
        if (n < DIRECTORY_LOGINS_EACH)
            old = first_to_end(m, span_of("", 0), &n);
        if (old != NULL && n >= (span_eq(old->name, c->name) ? DIRECTORY_LOGINS_EACH : DIRECTORY_LOGINS_MAX))
            directory_drop(m, &m->directory->logins, &old->rec);
        err = directory_add(m, &m->directory->logins, &l->rec);
    }
    if (err != 0) {
        login_free(&l->rec);
        return err;
    }
    r->id = at->id;
    return directory_audit(m, at, &c->by, "login of operator %.*s", S(c->name));
}

int directory_login_set(struct machine *m, const struct machine_at *at, const struct command *cmd,
                        struct machine_result *r)
{
    const struct command_login_set *c = &cmd->login_set;
    if (too_early(m, r))
        return 0;
    if (operator_find(m, c->name) == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no operator %.*s", S(c->name));
    if (c->open)
        return login_open(m, at, c, r);
    struct login *l = login_find(m, c->id);
    if (l == NULL || !span_eq(l->name, c->name))
        return REFUSE(r, ERR_NOT_FOUND, "that login has ended");
    uint64_t until_ms = c->until_ms < l->ends_ms ? c->until_ms : l->ends_ms;
    if (until_ms > l->until_ms) {
        store_touch(m->store, &l->rec);
        l->until_ms = until_ms;
    }
    r->id = at->id;
    return 0;
}

int directory_login_end(struct machine *m, const struct machine_at *at, const struct command *cmd,
                        struct machine_result *r)
{
    const struct command_login_end *c = &cmd->login_end;
    if (too_early(m, r))
        return 0;
    if (!c->all) {
        struct login *l = login_find(m, c->id);
        if (l == NULL || !span_eq(l->name, c->name))
            return 0; /* it has ended, which is what was asked for */
        directory_drop(m, &m->directory->logins, &l->rec);
        return directory_audit(m, at, &c->by, "logout of operator %.*s", S(c->name));
    }
    if (operator_find(m, c->name) == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no operator %.*s", S(c->name));
    uint32_t n = drop_logins(m, c->name, 0);
    return directory_audit(m, at, &c->by, "operator %.*s logged out everywhere (%u)", S(c->name), n);
}

/* ---- readers ------------------------------------------------------------------------------------------- */

static struct directory_operator view(const struct operator* o)
{
    return (struct directory_operator){
        .name = o->name, .hash = o->hash, .role = o->role, .wall_ms = o->wall_ms, .version = o->version
    };
}

bool directory_operator_find(const struct machine *m, struct span name, struct directory_operator *out)
{
    const struct operator* o = operator_find(m, name);
    if (o != NULL)
        *out = view(o);
    return o != NULL;
}

int directory_operator_each(const struct machine *m, struct span after, directory_operator_fn *fn, void *arg)
{
    struct directory_place at = directory_index_after(&m->directory->operators, after);
    int stop = 0;
    for (const struct store_rec *rec;
         stop == 0 && (rec = directory_index_next(&m->directory->operators, &at)) != NULL;) {
        struct directory_operator v = view((const struct operator*)rec);
        stop = fn(arg, &v);
    }
    return stop;
}

static struct directory_login login_view(const struct login *l)
{
    return (struct directory_login){ .id = l->id,
                                     .name = l->name,
                                     .who = l->who,
                                     .wall_ms = l->wall_ms,
                                     .until_ms = (int64_t)l->until_ms,
                                     .ends_ms = (int64_t)l->ends_ms };
}

bool directory_login_find(const struct machine *m, const uint8_t id[32], struct directory_login *out)
{
    const struct login *l = login_find(m, id);
    if (l != NULL)
        *out = login_view(l);
    return l != NULL;
}

int directory_login_each(const struct machine *m, directory_login_fn *fn, void *arg)
{
    struct directory_place at = directory_index_after(&m->directory->logins, span_of("", 0));
    int stop = 0;
    for (const struct store_rec *rec;
         stop == 0 && (rec = directory_index_next(&m->directory->logins, &at)) != NULL;) {
        struct directory_login v = login_view((const struct login *)rec);
        stop = fn(arg, &v);
    }
    return stop;
}
