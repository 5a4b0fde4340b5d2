/* The cluster itself, the tokens by which nodes join it, and joining. */
#include "base/ensure.h"
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdlib.h>

/* ---- the cluster --------------------------------------------------------------------------------------- */

static struct span cluster_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)rec;
    (void)scratch;
    return SPAN_LIT("cluster");
}

static void cluster_encode(const struct store_rec *rec, struct buf *out)
{
    const struct directory_cluster_rec *k = (const struct directory_cluster_rec *)rec;
    (void)buf_put(out, k->id, sizeof k->id);
    (void)buf_put_u32(out, k->epoch);
    (void)buf_put_counted(out, k->ca_certificate);
    (void)buf_put_counted(out, k->ca_key);
    (void)buf_put_u32(out, k->features);
    (void)buf_put_u64(out, k->last_member);
    (void)buf_put_u8(out, k->last_slot);
    (void)buf_put_u64(out, k->version);
}

static void cluster_free(struct store_rec *rec)
{
    struct directory_cluster_rec *k = (struct directory_cluster_rec *)rec;
    directory_texts_free(TEXTS(&k->ca_certificate, &k->ca_key));
    free(k);
}

static int cluster_decode(struct cursor *c, struct store_rec **out)
{
    struct directory_cluster_rec *k = calloc(1, sizeof *k);
    if (k == NULL)
        return -ENOMEM;
    struct span id = cursor_bytes(c, sizeof k->id);
    memcpy(k->id, id.p, id.n);
    k->epoch = cursor_u32(c);
    int err = directory_texts_decode(c, TEXTS(&k->ca_certificate, &k->ca_key));
    k->features = cursor_u32(c);
    k->last_member = cursor_u64(c);
    k->last_slot = cursor_u8(c);
    k->version = cursor_u64(c);
    if (err == 0)
        err = cursor_err(c);
    if (err != 0)
        cluster_free(&k->rec);
    else
        *out = &k->rec;
    return err;
}

const struct store_type directory_cluster_type = {
    29, "cluster", cluster_key, cluster_encode, cluster_decode, cluster_free
};

uint32_t directory_features(const struct machine *m)
{
    return m->directory->cluster == NULL ? 1 : m->directory->cluster->features;
}

bool directory_cluster(const struct machine *m, struct directory_cluster *out)
{
    const struct directory_cluster_rec *k = m->directory->cluster;
    if (k == NULL)
        return false;
    *out = (struct directory_cluster){
        .epoch = k->epoch, .ca_certificate = k->ca_certificate, .ca_key = k->ca_key, .version = k->version
    };
    memcpy(out->id, k->id, sizeof out->id);
    return true;
}

static int found(struct machine *m, const struct command_cluster_init *c)
{
    struct directory_cluster_rec *k = calloc(1, sizeof *k);
    if (k == NULL)
        return -ENOMEM;
    memcpy(k->id, c->cluster, sizeof k->id);
    k->features = c->features;
    int err = store_add(m->store, &directory_cluster_type, &k->rec);
    if (err != 0)
        cluster_free(&k->rec);
    else
        m->directory->cluster = k;
    return err;
}

/* Of a new epoch: everybody else is out, and so are the tokens, which name the old authority. */
static void remove_others(struct machine *m, const struct machine_at *at,
                          const struct directory_member_rec *self)
{
    LIST_EACH_SAFE(link, store_all(m->store, &directory_member_type))
    {
        struct directory_member_rec *mb = LIST_ITEM(link, struct directory_member_rec, rec.link);
        if (mb != self && directory_member_is_present(mb))
            directory_member_remove(m, at, mb);
    }
    directory_tokens_drop_all(m);
}

static int set_first(struct machine *m, const struct machine_at *at, const struct command_cluster_init *c,
                     struct directory_member_rec *mb)
{
    store_touch(m->store, &mb->rec);
    mb->state = COMMAND_MEMBER_ACTIVE;
    mb->role = COMMAND_ROLE_VOTER;
    mb->features = c->features;
    mb->version = at->id;
    memset(mb->certificates, 0, sizeof mb->certificates);
    memset(mb->not_after_ms, 0, sizeof mb->not_after_ms);
    memcpy(mb->certificates[0], c->certificate_sha256.p, c->certificate_sha256.n);
    return directory_texts_copy(TEXTS(&mb->raft_address, &mb->gossip_address, &mb->runs),
                                (struct span[]){ c->raft_address, c->gossip_address, c->version });
}

static bool init_ok(const struct machine *m, const struct command_cluster_init *c, struct machine_result *r)
{
    const struct directory_cluster_rec *k = m->directory->cluster;
    if (!directory_name_ok(c->name))
        machine_refuse(r, ERR_BAD, "a node's name has no blanks and no control characters");
    else if (c->epoch == 0 || c->features == 0 ||
             (c->certificate_sha256.n != 0 && c->certificate_sha256.n != 32))
        machine_refuse(r, ERR_BAD, "the epoch or the feature level is 0, or the certificate's hash is none");
    else if (k == NULL)
        return directory_member_unique(m, 0, c->name, c->raft_address, c->gossip_address, r);
    else if (memcmp(k->id, c->cluster, sizeof k->id) != 0)
        machine_refuse(r, ERR_EXISTS, "this node is of another cluster already");
    else if (c->epoch < k->epoch || (c->epoch == k->epoch && !span_eq(c->ca_certificate, k->ca_certificate)))
        machine_refuse(r, ERR_EXISTS, "the cluster is in epoch %u already", k->epoch);
    else if (directory_member_get_named(m, c->name) == NULL)
        machine_refuse(r, ERR_NOT_FOUND, "node %.*s is no member: recover on one that is", S(c->name));
    return r->err == 0;
}

int directory_cluster_init(struct machine *m, const struct machine_at *at, const struct command *cmd,
                           struct machine_result *r)
{
    const struct command_cluster_init *c = &cmd->cluster_init;
    if (!init_ok(m, c, r))
        return 0;
    struct directory_member_rec *mb = directory_member_get_named(m, c->name);
    if (m->directory->cluster != NULL && m->directory->cluster->epoch == c->epoch) {
        r->id = mb->id; /* a repeat */
        return 0;
    }
    int err = m->directory->cluster == NULL ? found(m, c) : 0;
    if (err == 0 && mb == NULL)
        err = directory_member_new(m, at,
                                   &(struct command_member_join){ .name = c->name,
                                                                  .raft_address = c->raft_address,
                                                                  .gossip_address = c->gossip_address,
                                                                  .version = c->version,
                                                                  .features = c->features },
                                   &mb);
    if (err == 0)
        err = set_first(m, at, c, mb);
    if (err != 0)
        return err;
    remove_others(m, at, mb);
    struct directory_cluster_rec *k = m->directory->cluster;
    store_touch(m->store, &k->rec);
    k->epoch = c->epoch;
    k->version = at->id;
    err = directory_texts_copy(TEXTS(&k->ca_certificate, &k->ca_key),
                               (struct span[]){ c->ca_certificate, c->ca_key });
    if (err != 0)
        return err;
    r->id = mb->id;
    machine_changed(m, MACHINE_CHANGED_MEMBERS, mb->id, mb->name);
    machine_changed(m, MACHINE_CHANGED_FEATURES, k->features, (struct span){ 0 });
    return directory_audit(m, at, &(struct command_by){ .who = mb->name },
                           "the cluster's epoch %u begins with node %.*s", c->epoch, S(mb->name));
}

/* ---- tokens -------------------------------------------------------------------------------------------- */

struct token {
    struct store_rec rec;
    struct span id, node_name, who;
    uint8_t secret_sha256[32], request_sha256[32];
    uint64_t until_ms;
    uint64_t node; /* 0: not used yet */
    uint64_t version;
};

static struct span token_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return ((const struct token *)rec)->id;
}

static void token_encode(const struct store_rec *rec, struct buf *out)
{
    const struct token *t = (const struct token *)rec;
    (void)buf_put_counted(out, t->id);
    (void)buf_put_counted(out, t->node_name);
    (void)buf_put_counted(out, t->who);
    (void)buf_put(out, t->secret_sha256, sizeof t->secret_sha256);
    (void)buf_put(out, t->request_sha256, sizeof t->request_sha256);
    (void)buf_put_u64(out, t->until_ms);
    (void)buf_put_u64(out, t->node);
    (void)buf_put_u64(out, t->version);
}

static void token_free(struct store_rec *rec)
{
    struct token *t = (struct token *)rec;
    directory_texts_free(TEXTS(&t->id, &t->node_name, &t->who));
    free(t);
}

static int token_decode(struct cursor *c, struct store_rec **out)
{
    struct token *t = calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    int err = directory_texts_decode(c, TEXTS(&t->id, &t->node_name, &t->who));
    struct span secret = cursor_bytes(c, sizeof t->secret_sha256);
    memcpy(t->secret_sha256, secret.p, secret.n);
    struct span request = cursor_bytes(c, sizeof t->request_sha256);
    memcpy(t->request_sha256, request.p, request.n);
    t->until_ms = cursor_u64(c);
    t->node = cursor_u64(c);
    t->version = cursor_u64(c);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && (t->id.n == 0 || t->id.n > COMMAND_NAME_MAX))
        err = ERR_CORRUPT;
    if (err != 0)
        token_free(&t->rec);
    else
        *out = &t->rec;
    return err;
}

const struct store_type directory_token_type = { 31,           "token",      token_key,
                                                 token_encode, token_decode, token_free };

static struct token *token_find(const struct machine *m, struct span id)
{
    return (struct token *)store_find(m->store, &directory_token_type, id);
}

static bool token_forgotten(const struct token *t, uint64_t now_ms)
{
    return now_ms > t->until_ms && now_ms - t->until_ms > DIRECTORY_TOKEN_KEPT_MS;
}

int directory_token_add(struct machine *m, const struct machine_at *at, const struct command *cmd,
                        struct machine_result *r)
{
    const struct command_token_add *c = &cmd->token_add;
    if (m->directory->cluster == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no cluster yet: make one with `turnpike cluster init`");
    if (!directory_name_ok(c->id) || (c->node_name.n != 0 && !directory_name_ok(c->node_name)))
        return REFUSE(r, ERR_BAD, "a name has no blanks and no control characters");
    if (c->for_ms == 0 || c->for_ms > DIRECTORY_TOKEN_LIFE_MAX_MS)
        return REFUSE(r, ERR_BAD, "a token is good for up to 30 days");
    if (token_find(m, c->id) != NULL)
        return REFUSE(r, ERR_EXISTS, "there is a token %.*s already: try again", S(c->id));
    if (store_len(m->store, &directory_token_type) >= DIRECTORY_TOKENS_MAX)
        return REFUSE(r, ERR_LIMIT, "there are %d tokens, which is the most: remove some first",
                      DIRECTORY_TOKENS_MAX);
    struct token *t = calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    memcpy(t->secret_sha256, c->secret_sha256, sizeof t->secret_sha256);
    t->until_ms = at->now_ms + c->for_ms;
    t->version = at->id;
    int err = directory_texts_copy(TEXTS(&t->id, &t->node_name, &t->who),
                                   (struct span[]){ c->id, c->node_name, c->by.who });
    if (err == 0)
        err = directory_add(m, &m->directory->tokens, &t->rec);
    if (err != 0) {
        token_free(&t->rec);
        return err;
    }
    r->id = at->id;
    return directory_audit(m, at, &c->by, "token %.*s for %s%.*s", S(c->id),
                           c->node_name.n == 0 ? "a node" : "node ", S(c->node_name));
}

int directory_token_remove(struct machine *m, const struct machine_at *at, const struct command *cmd,
                           struct machine_result *r)
{
    const struct command_name *c = &cmd->name;
    struct token *t = token_find(m, c->name);
    if (t == NULL)
        return REFUSE(r, ERR_NOT_FOUND, "there is no token %.*s", S(c->name));
    if (directory_stale(&c->by, t->version))
        return REFUSE(r, ERR_BUSY, "token %.*s is another one now (version %llu)", S(c->name),
                      (unsigned long long)t->version);
    bool tidy = cmd->origin.session == 0; /* of directory_tokens_due */
    if (tidy && !token_forgotten(t, at->now_ms))
        return REFUSE(r, ERR_BUSY, "token %.*s is still of use", S(c->name));
    directory_drop(m, &m->directory->tokens, &t->rec);
    return tidy ? 0 : directory_audit(m, at, &c->by, "removed token %.*s", S(c->name));
}

int directory_tokens_drop_all(struct machine *m)
{
    LIST_EACH_SAFE(link, store_all(m->store, &directory_token_type))
    directory_drop(m, &m->directory->tokens, LIST_ITEM(link, struct store_rec, link));
    return 0;
}

int directory_tokens_due(struct machine *m, uint64_t now_ms, struct buf *out, uint32_t *n)
{
    uint32_t count = 0;
    LIST_EACH(link, store_all(m->store, &directory_token_type))
    {
        const struct token *t = LIST_ITEM(link, struct token, rec.link);
        if (!token_forgotten(t, now_ms))
            continue;
        struct command cmd = { .type = COMMAND_TOKEN_REMOVE, .name = { .name = t->id } };
        int err = command_encode(&cmd, out);
        if (err != 0)
            return err;
        ++*n;
        if (++count == DIRECTORY_DUE_MAX)
            break;
    }
    return 0;
}

static struct directory_token view(const struct token *t)
{
    struct directory_token v = { .id = t->id,
                                 .node_name = t->node_name,
                                 .who = t->who,
                                 .until_ms = t->until_ms,
                                 .used = t->node != 0,
                                 .node = t->node,
                                 .version = t->version };
    memcpy(v.secret_sha256, t->secret_sha256, sizeof v.secret_sha256);
    memcpy(v.request_sha256, t->request_sha256, sizeof v.request_sha256);
    return v;
}

bool directory_token_find(const struct machine *m, struct span id, struct directory_token *out)
{
    const struct token *t = token_find(m, id);
    if (t != NULL)
        *out = view(t);
    return t != NULL;
}

int directory_token_each(const struct machine *m, directory_token_fn *fn, void *arg)
{
    struct directory_place at = { 0 };
    int stop = 0;
    for (const struct store_rec *rec;
         stop == 0 && (rec = directory_index_next(&m->directory->tokens, &at)) != NULL;) {
        struct directory_token v = view((const struct token *)rec);
        stop = fn(arg, &v);
    }
    return stop;
}

/* ---- joining ------------------------------------------------------------------------------------------- */

/* A token that was used: the same request gets the same answer, however late it is repeated. */
static int join_again(const struct machine *m, const struct command_member_join *c, const struct token *t,
                      struct machine_result *r)
{
    char node[DIRECTORY_MEMBER_TEXT];
    if (memcmp(t->request_sha256, c->request_sha256, sizeof t->request_sha256) != 0)
        return REFUSE(r, ERR_DENIED,
                      "this token was used already, by %s: make a new one with `turnpike node token`",
                      directory_member_text(m, t->node, node));
    if (!directory_member_present(m, t->node))
        return REFUSE(r, ERR_DENIED,
                      "%s joined with this token and was removed: make a new one with `turnpike node token`",
                      directory_member_text(m, t->node, node));
    r->id = t->node;
    return 0;
}

static bool join_ok(const struct machine *m, const struct machine_at *at, const struct command_member_join *c,
                    const struct token *t, struct machine_result *r)
{
    uint32_t level = directory_features(m);
    if (at->now_ms > t->until_ms)
        machine_refuse(r, ERR_DENIED, "this token is too old: make a new one with `turnpike node token`");
    else if (t->node_name.n != 0 && !span_eq(t->node_name, c->name))
        machine_refuse(r, ERR_DENIED, "this token is for node %.*s, not for %.*s", S(t->node_name),
                       S(c->name));
    else if (!directory_name_ok(c->name) || !directory_text_ok(c->version) ||
             !directory_name_ok(c->raft_address) || !directory_name_ok(c->gossip_address))
        machine_refuse(r, ERR_BAD, "the node's name, version or an address has blanks or control characters");
    else if (c->features < level)
        machine_refuse(r, ERR_DENIED,
                       "version %.*s can do feature level %u, the cluster needs %u: install a newer one",
                       S(c->version), c->features, level);
    else
        (void)directory_member_unique(m, 0, c->name, c->raft_address, c->gossip_address, r);
    return r->err == 0;
}

int directory_member_join(struct machine *m, const struct machine_at *at, const struct command *cmd,
                          struct machine_result *r)
{
    const struct command_member_join *c = &cmd->member_join;
    struct token *t = token_find(m, c->token);
    if (m->directory->cluster == NULL || t == NULL)
        return REFUSE(r, ERR_DENIED,
                      "this token is not known, or is too old: make a new one with `turnpike node token`");
    if (t->node != 0)
        return join_again(m, c, t, r);
    if (!join_ok(m, at, c, t, r))
        return 0;
    struct directory_member_rec *mb;
    int err = directory_member_new(m, at, c, &mb);
    if (err != 0)
        return err;
    if (mb == NULL)
        return REFUSE(r, ERR_LIMIT, "there are 255 nodes, which is the most: remove one first");
    store_touch(m->store, &t->rec);
    t->node = r->id = mb->id;
    memcpy(t->request_sha256, c->request_sha256, sizeof t->request_sha256);
    return directory_audit(m, at, &(struct command_by){ .who = t->who },
                           "node %.*s (%llu) joined with token %.*s", S(mb->name), (unsigned long long)mb->id,
                           S(t->id));
}
