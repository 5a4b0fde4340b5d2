/* The frozen list for the workers: the cluster's, and what was frozen on this node alone while there was no
 * quorum. The latter is in a file, one line each, so that a restart does not thaw it; once the cluster can be
 * asked, it is proposed there, and leaves the file when the cluster has it. And whether mail waits while this
 * node cannot know who is frozen, likewise over restarts.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "node/core/cluster_impl.h"
#include "node/policy/policy.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOCALS_FILE "frozen.local"
#define LOCALS_MAX 1000
#define HOLD_FILE "when_cut_off.hold"
#define SUBMIT_MS 5000

/* ---- the view ------------------------------------------------------------------------------------------ */

static int add_frozen(void *arg, const struct machine_frozen *f)
{
    const struct frozen_entry e = {
        .scope = f->scope, .mode = f->mode, .id = f->id, .name = f->name, .reason = f->reason, .who = f->who
    };
    return frozen_view_add(arg, &e);
}

static int add_locals(struct cluster *c, struct frozen_view *v)
{
    int err = 0;
    LIST_EACH(link, &c->locals)
    {
        const struct cluster_local *l = LIST_ITEM(link, struct cluster_local, link);
        const struct frozen_entry e = {
            .scope = l->scope, .mode = l->mode, .name = span_str(l->name), .reason = span_str(l->reason)
        };
        if (err == 0)
            err = frozen_view_add(v, &e);
    }
    return err;
}

void cluster_frozen_publish(struct cluster *c)
{
    struct frozen_view *v = frozen_view_new();
    int err = v == NULL ? -ENOMEM : machine_frozen_each(c->m, add_frozen, v);
    if (err == 0)
        err = add_locals(c, v);
    if (err != 0) { /* a node that cannot hold the list must not go on with an old one */
        frozen_view_rele(v);
        cluster_give_up(c, err, "no memory for the frozen list");
        return;
    }
    frozen_view_seal(v, machine_applied(c->m));
    for (uint32_t i = 0; i < c->node->nworkers; i++)
        frozen_view_post(&c->node->workers[i], v);
    pthread_mutex_lock(&c->lock);
    struct frozen_view *old = c->frozen;
    c->frozen = v;
    pthread_mutex_unlock(&c->lock);
    frozen_view_rele(old);
}

/* ---- of this node alone -------------------------------------------------------------------------------- */

static void local_free(struct cluster_local *l)
{
    list_remove(&l->link);
    free(l->name);
    free(l->reason);
    free(l->who);
    free(l);
}

static struct cluster_local *local_find(struct cluster *c, uint8_t scope, struct span name)
{
    LIST_EACH(link, &c->locals)
    {
        struct cluster_local *l = LIST_ITEM(link, struct cluster_local, link);
        if (l->scope == scope && span_eq(span_str(l->name), name))
            return l;
    }
    return NULL;
}

static struct cluster_local *local_new(uint8_t scope, uint8_t mode, int64_t wall_ms, int64_t until_ms,
                                       struct span name, struct span reason, struct span who)
{
    struct cluster_local *l = calloc(1, sizeof *l);
    if (l == NULL)
        return NULL;
    *l = (struct cluster_local){ .scope = scope, .mode = mode, .wall_ms = wall_ms, .until_ms = until_ms };
    l->name = strndup(name.n > 0 ? name.p : "", name.n);
    l->reason = strndup(reason.n > 0 ? reason.p : "", reason.n);
    l->who = strndup(who.n > 0 ? who.p : "", who.n);
    if (l->name != NULL && l->reason != NULL && l->who != NULL)
        return l;
    local_free(l);
    return NULL;
}

static void sync_names(const struct cluster *c)
{
    int err = cluster_files_sync(c);
    if (err != 0)
        log_warn("cluster", "%s: %s", c->dir, err_text(err));
}

static int put_local(const struct cluster_local *l, struct buf *out)
{
    json_t *o = json_pack("{s:i, s:i, s:I, s:I, s:s, s:s, s:s}", "scope", l->scope, "mode", l->mode,
                          "wall_ms", (json_int_t)l->wall_ms, "until_ms", (json_int_t)l->until_ms, "name",
                          l->name, "reason", l->reason, "who", l->who);
    char *text = o == NULL ? NULL : json_dumps(o, JSON_COMPACT);
    json_decref(o);
    if (text == NULL)
        return -ENOMEM;
    buf_put_str(out, text);
    buf_put_char(out, '\n');
    free(text);
    return buf_err(out);
}

static int save(struct cluster *c)
{
    struct buf out;
    int err = 0;
    buf_init(&out, 8u << 20);
    LIST_EACH(link, &c->locals)
    if (err == 0)
        err = put_local(LIST_ITEM(link, struct cluster_local, link), &out);
    if (err == 0)
        err = out.len == 0 ? cluster_file_remove(c, LOCALS_FILE)
                           : cluster_file_replace(c, LOCALS_FILE, buf_span(&out));
    buf_fini(&out);
    if (err != 0)
        log_error("cluster", "%s/%s: %s", c->dir, LOCALS_FILE, err_text(err));
    else
        sync_names(c);
    return err;
}

static int read_line(struct cluster *c, const char *line, size_t n)
{
    int scope = 0, mode = 0;
    json_int_t wall_ms = 0, until_ms = 0;
    const char *name = NULL, *reason = NULL, *who = NULL;
    json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
    bool ok =
        o != NULL &&
        json_unpack(o, "{s:i, s:i, s:I, s:I, s:s, s:s, s:s}", "scope", &scope, "mode", &mode, "wall_ms",
                    &wall_ms, "until_ms", &until_ms, "name", &name, "reason", &reason, "who", &who) == 0 &&
        (scope == COMMAND_SCOPE_ACCOUNT || scope == COMMAND_SCOPE_TENANT) && mode >= COMMAND_FREEZE_REJECT &&
        mode <= COMMAND_FREEZE_AUTO && name[0] != '\0';
    struct cluster_local *l = !ok ? NULL
                                  : local_new((uint8_t)scope, (uint8_t)mode, wall_ms, until_ms,
                                              span_str(name), span_str(reason), span_str(who));
    json_decref(o);
    if (l != NULL)
        list_push_back(&c->locals, &l->link);
    return !ok ? ERR_CORRUPT : l == NULL ? -ENOMEM : 0;
}

int cluster_frozen_load(struct cluster *c)
{
    char path[CLUSTER_PATH_MAX], *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int err = 0;
    cluster_file_path(c, LOCALS_FILE, path);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return errno == ENOENT ? 0 : -errno;
    for (int i = 0; err == 0 && i < LOCALS_MAX && (n = getline(&line, &cap, f)) > 0; i++)
        if ((err = read_line(c, line, (size_t)n)) != 0)
            log_error("cluster",
                      "%s:%d: %s: somebody's freeze would be lost; mend the line or remove the file", path,
                      i + 1, err_text(err));
    free(line);
    fclose(f);
    return err;
}

void cluster_frozen_fini(struct cluster *c)
{
    for (struct list *link; (link = list_first(&c->locals)) != NULL;)
        local_free(LIST_ITEM(link, struct cluster_local, link));
}

/* ---- while this node is cut off ------------------------------------------------------------------------ */

void cluster_hold_load(struct cluster *c)
{
    char path[CLUSTER_PATH_MAX];
    cluster_file_path(c, HOLD_FILE, path);
    c->hold_saved = access(path, F_OK) == 0 || errno != ENOENT;
    atomic_store(&c->holds, c->hold_saved);
}

/* The log has the policy too, but a node that starts without a majority is not told how much of its log
 * counts. */
static void hold_save(struct cluster *c, bool hold)
{
    int err =
        hold ? cluster_file_replace(c, HOLD_FILE, SPAN_LIT("hold\n")) : cluster_file_remove(c, HOLD_FILE);
    if (err == 0)
        sync_names(c);
    if (err == 0)
        c->hold_saved = hold;
    else if (!c->hold_unsaved)
        log_error("cluster", "%s/%s: %s: a restart without a majority would not know that when_cut_off is %s",
                  c->dir, HOLD_FILE, err_text(err), hold ? "hold" : "deliver");
    c->hold_unsaved = err != 0;
}

void cluster_hold_look(struct cluster *c, bool save)
{
    struct agent_session session = { .usable = false };
    bool member = c->state == CLUSTER_RUNNING || c->starting || c->stopping;
    if (c->state == CLUSTER_STOPPING)
        return; /* it stays as it is while all is closed */
    if (c->state == CLUSTER_RUNNING && c->agent != NULL)
        agent_session(c->agent, &session);
    c->hold_known = c->hold_known || session.usable;
    bool held = atomic_load(&c->holds), holds = member && held;
    if (member && c->hold_known && c->policy != NULL)
        holds = c->policy->compiled.hold_when_cut_off;
    if (holds != held) /* all workers read it all the time */
        atomic_store(&c->holds, holds);
    if (save && c->state == CLUSTER_RUNNING && holds != c->hold_saved)
        hold_save(c, holds);
    bool now = holds && !session.usable, was = atomic_exchange(&c->is_holding, now);
    if (now == was || c->stopping)
        return;
    if (now)
        log_warn("cluster", "no mail is delivered either, until there is a session: when_cut_off is hold");
    else
        log_info("cluster", "mail is delivered");
}

/* ---- handing it to the cluster ------------------------------------------------------------------------- */

struct hand_over {
    struct cluster *c;
    uint8_t scope;
    char name[COMMAND_NAME_MAX + 1];
};

static void handed_over_cb(void *ctx, int err, const struct machine_result *r)
{
    struct hand_over *h = ctx;
    struct cluster *c = h->c;
    struct cluster_local *l = local_find(c, h->scope, span_str(h->name));
    if (l != NULL && err == 0 && (r->err == 0 || r->err == ERR_EXISTS)) {
        log_info("cluster", "the freeze of %s on this node alone is the cluster's now", l->name);
        local_free(l);
        (void)save(c);
        c->frozen_dirty = true;
    } else if (l != NULL) {
        l->submitted = false; /* again at the next look */
    }
    free(h);
}

static void hand_over(struct cluster *c, struct cluster_local *l, int64_t wall_ms)
{
    struct hand_over *h = malloc(sizeof *h);
    if (h == NULL || strlen(l->name) >= sizeof h->name) {
        free(h);
        return;
    }
    h->c = c;
    h->scope = l->scope;
    snprintf(h->name, sizeof h->name, "%s", l->name);
    struct command cmd = { .type = COMMAND_FREEZE,
                           .freeze = { .by = { .who = span_str(l->who), .wall_ms = l->wall_ms },
                                       .scope = l->scope,
                                       .name = span_str(l->name),
                                       .mode = l->mode,
                                       .for_ms = l->until_ms == 0 ? 0 : (uint64_t)(l->until_ms - wall_ms),
                                       .reason = span_str(l->reason) } };
    l->submitted = agent_submit(c->agent, &cmd, SUBMIT_MS, handed_over_cb, h) == 0;
    if (!l->submitted)
        free(h);
}

void cluster_frozen_tick(struct cluster *c)
{
    struct agent_session session;
    int64_t wall_ms = clock_wall_ms();
    bool ended = false;
    if (list_empty(&c->locals))
        return;
    agent_session(c->agent, &session);
    LIST_EACH_SAFE(link, &c->locals)
    {
        struct cluster_local *l = LIST_ITEM(link, struct cluster_local, link);
        if (l->until_ms != 0 && wall_ms >= l->until_ms) {
            local_free(l);
            ended = true;
        } else if (!l->submitted && session.usable) {
            hand_over(c, l, wall_ms);
        }
    }
    if (!ended)
        return;
    (void)save(c);
    c->frozen_dirty = c->poll_due = true;
}

/* ---- the operator's side ------------------------------------------------------------------------------- */

struct local_call {
    struct cluster_call call;
    const struct command_freeze *f; /* NULL: thaw */
    uint8_t scope;
    struct span name;
    char who[256];
};

static void local_run(struct cluster *c, struct cluster_call *call)
{
    struct local_call *lc = (struct local_call *)call;
    const struct command_freeze *f = lc->f;
    struct cluster_local *old = local_find(c, lc->scope, lc->name), *fresh = NULL;
    uint32_t n = 0;
    LIST_EACH(link, &c->locals)
    n++;
    if (c->state != CLUSTER_RUNNING) {
        cluster_call_done(c, call,
                          admin_fail(call->e, ERR_CLOSED, "this node is no member of the cluster any more"));
        return;
    }
    if (f == NULL && old == NULL) {
        cluster_call_done(c, call,
                          admin_fail(call->e, ERR_NOT_FOUND, "%.*s is not frozen on this node alone",
                                     (int)lc->name.n, lc->name.p));
        return;
    }
    if (f != NULL) {
        int64_t wall_ms = clock_wall_ms();
        fresh = n >= LOCALS_MAX
                    ? NULL
                    : local_new(f->scope, f->mode, wall_ms, f->for_ms == 0 ? 0 : wall_ms + (int64_t)f->for_ms,
                                f->name, f->reason, span_str(lc->who));
        if (fresh == NULL) {
            cluster_call_done(
                c, call, admin_fail(call->e, ERR_LIMIT, "no room for one more freeze on this node alone"));
            return;
        }
        list_push_back(&c->locals, &fresh->link);
    }
    if (old != NULL)
        local_free(old);
    int err = save(c);
    cluster_frozen_publish(c);
    cluster_call_done(
        c, call, err == 0 ? 0 : admin_fail(call->e, err, "in force, but not on disk: %s", err_text(err)));
}

static void nothing(struct worker *w, void *arg)
{
    (void)w;
    (void)arg;
}

static int local_call(struct cluster *c, struct local_call *lc, const struct admin_caller *by,
                      struct admin_error *e)
{
    int err = cluster_need(c, e);
    if (err != 0)
        return err;
    snprintf(lc->who, sizeof lc->who, "%s", by->text);
    cluster_call_init(&lc->call, local_run, e);
    err = cluster_call_wait(c, &lc->call);
    for (uint32_t i = 0; i < c->node->nworkers; i++) /* the view was posted before: they act upon it now */
        worker_call(&c->node->workers[i], nothing, NULL);
    return err;
}

int cluster_freeze_local(void *ctx, const struct admin_caller *by, const struct command_freeze *f,
                         struct admin_error *e)
{
    struct local_call lc = { .f = f, .scope = f->scope, .name = f->name };
    if (f->name.n == 0 || f->name.n > COMMAND_NAME_MAX)
        return admin_fail(e, ERR_BAD, "the name is empty or too long");
    int err = local_call(cluster_of(ctx), &lc, by, e);
    if (err == 0)
        log_info("cluster", "%.*s frozen on this node alone by %s", (int)f->name.n, f->name.p, by->text);
    return err;
}

int cluster_thaw_local(void *ctx, const struct admin_caller *by, uint8_t scope, const char *name,
                       struct admin_error *e)
{
    struct local_call lc = { .scope = scope, .name = span_str(name) };
    int err = local_call(cluster_of(ctx), &lc, by, e);
    if (err == 0)
        log_info("cluster", "%s thawed on this node alone by %s", name, by->text);
    return err;
}

struct locals_call {
    struct cluster_call call;
    machine_frozen_fn *fn; /* run while its thread waits */
    void *arg;
};

static void locals_run(struct cluster *c, struct cluster_call *call)
{
    struct locals_call *lc = (struct locals_call *)call;
    int stop = 0;
    LIST_EACH(link, &c->locals)
    {
        const struct cluster_local *l = LIST_ITEM(link, struct cluster_local, link);
        const struct machine_frozen f = { .scope = l->scope,
                                          .mode = l->mode,
                                          .name = span_str(l->name),
                                          .reason = span_str(l->reason),
                                          .who = span_str(l->who),
                                          .wall_ms = l->wall_ms };
        if (stop == 0)
            stop = lc->fn(lc->arg, &f);
    }
    cluster_call_done(c, call, stop);
}

int cluster_frozen_local(void *ctx, machine_frozen_fn *fn, void *arg)
{
    struct cluster *c = cluster_of(ctx);
    struct locals_call lc = { .fn = fn, .arg = arg };
    if (c == NULL)
        return 0;
    cluster_call_init(&lc.call, locals_run, NULL);
    return cluster_call_wait(c, &lc.call);
}
