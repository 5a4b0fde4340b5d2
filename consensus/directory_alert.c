/* What the cluster as a whole has to tell people, and which targets of the policy's notifications have had
 * it.
 *
 * An alert is made by the machine itself, where something happens to a sender, so that there is one of it
 * however many nodes see it. The leader sends those that a target lacks, and then says so
 * (COMMAND_ALERT_DONE); whoever leads next goes on from there, and loses none. The last DIRECTORY_ALERTS_MAX
 * are kept: a target that was not reached for so long misses the oldest. From feature level 6 on.
 */
#include "consensus/directory_impl.h"

#include <errno.h>
#include <stdlib.h>

#define ALERT_FEATURE 6
#define OPERATOR_FEATURE 7 /* operators' freezes */
#define RING 1024 /* bits of a target: one for each alert that is kept, by its number modulo this */
#define WORDS (RING / 64)

_Static_assert(DIRECTORY_ALERTS_MAX < RING, "a bit stands for one alert only");

/* ---- alerts -------------------------------------------------------------------------------------------- */

struct alert {
    struct store_rec rec;
    struct directory_alert is; /* its texts are the record's own */
};

static struct span alert_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    return store_number_key(((const struct alert *)rec)->is.seq, scratch);
}

static void alert_encode(const struct store_rec *rec, struct buf *out)
{
    const struct directory_alert *a = &((const struct alert *)rec)->is;
    (void)buf_put_u64(out, a->seq);
    (void)buf_put_u64(out, a->at);
    (void)buf_put_u64(out, (uint64_t)a->wall_ms);
    (void)buf_put_u8(out, a->severity);
    (void)buf_put_counted(out, a->event);
    (void)buf_put_counted(out, a->account);
    (void)buf_put_counted(out, a->tenant);
    (void)buf_put_counted(out, a->rule);
    (void)buf_put_counted(out, a->text);
}

#define ALERT_TEXTS(a) TEXTS(&(a)->event, &(a)->account, &(a)->tenant, &(a)->rule, &(a)->text)

static void alert_free(struct store_rec *rec)
{
    struct alert *a = (struct alert *)rec;
    directory_texts_free(ALERT_TEXTS(&a->is));
    free(a);
}

static int alert_decode(struct cursor *c, struct store_rec **out)
{
    struct alert *a = calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    a->is.seq = cursor_u64(c);
    a->is.at = cursor_u64(c);
    a->is.wall_ms = (int64_t)cursor_u64(c);
    a->is.severity = cursor_u8(c);
    int err = directory_texts_decode(c, ALERT_TEXTS(&a->is));
    if (err == 0 && (a->is.seq == 0 || a->is.severity > DIRECTORY_ALERT_CRITICAL || a->is.event.n == 0))
        err = ERR_CORRUPT;
    if (err != 0)
        alert_free(&a->rec);
    else
        *out = &a->rec;
    return err;
}

const struct store_type directory_alert_type = { 175,          "alert",      alert_key,
                                                 alert_encode, alert_decode, alert_free };

static const struct directory_alert *alert_of(const struct list *link)
{
    return &LIST_ITEM(link, struct alert, rec.link)->is;
}

uint64_t directory_alert_last(const struct machine *m)
{
    const struct list *all = store_all(m->store, &directory_alert_type);
    return list_empty(all) ? 0 : alert_of(all->prev)->seq;
}

int directory_alerts_each(const struct machine *m, uint64_t after, directory_alert_fn *fn, void *arg)
{
    const struct list *all = store_all(m->store, &directory_alert_type);
    int stop = 0;
    for (const struct list *link = all->next; stop == 0 && link != all; link = link->next)
        if (alert_of(link)->seq > after)
            stop = fn(arg, alert_of(link));
    return stop;
}

/* ---- targets ------------------------------------------------------------------------------------------- */

struct target {
    struct store_rec rec;
    struct span name;
    uint64_t since; /* it has no business with alerts up to this one */
    uint64_t done[WORDS];
};

static struct span target_key(const struct store_rec *rec, char scratch[STORE_KEY_MAX])
{
    (void)scratch;
    return ((const struct target *)rec)->name;
}

static void target_encode(const struct store_rec *rec, struct buf *out)
{
    const struct target *t = (const struct target *)rec;
    (void)buf_put_counted(out, t->name);
    (void)buf_put_u64(out, t->since);
    for (size_t i = 0; i < WORDS; i++)
        (void)buf_put_u64(out, t->done[i]);
}

static void target_free(struct store_rec *rec)
{
    struct target *t = (struct target *)rec;
    directory_text_free(&t->name);
    free(t);
}

static int target_decode(struct cursor *c, struct store_rec **out)
{
    struct target *t = calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    int err = directory_texts_decode(c, TEXTS(&t->name));
    t->since = cursor_u64(c);
    for (size_t i = 0; i < WORDS; i++)
        t->done[i] = cursor_u64(c);
    if (err == 0)
        err = cursor_err(c);
    if (err == 0 && (t->name.n > COMMAND_NAME_MAX || !directory_name_ok(t->name)))
        err = ERR_CORRUPT;
    if (err != 0)
        target_free(&t->rec);
    else
        *out = &t->rec;
    return err;
}

const struct store_type directory_alert_target_type = { 176,           "alert target", target_key,
                                                        target_encode, target_decode,  target_free };

static struct target *target_find(const struct machine *m, struct span name)
{
    return (struct target *)store_find(m->store, &directory_alert_target_type, name);
}

static uint64_t *word_of(struct target *t, uint64_t seq)
{
    return &t->done[seq % RING / 64];
}

static uint64_t bit_of(uint64_t seq)
{
    return UINT64_C(1) << seq % 64;
}

bool directory_alert_target(const struct machine *m, struct span name)
{
    return target_find(m, name) != NULL;
}

bool directory_alert_done(const struct machine *m, struct span name, uint64_t seq)
{
    struct target *t = target_find(m, name);
    return t != NULL && (seq <= t->since || (*word_of(t, seq) & bit_of(seq)) != 0);
}

int directory_alert_targets_each(const struct machine *m, directory_alert_target_fn *fn, void *arg)
{
    const struct list *all = store_all(m->store, &directory_alert_target_type);
    int stop = 0;
    for (const struct list *link = all->next; stop == 0 && link != all; link = link->next)
        stop = fn(arg, LIST_ITEM(link, struct target, rec.link)->name);
    return stop;
}

/* ---- a new one ----------------------------------------------------------------------------------------- */

/* What had the number's bit before is not kept any more. */
static void clear_bit(struct machine *m, uint64_t seq)
{
    LIST_EACH(link, store_all(m->store, &directory_alert_target_type))
    {
        struct target *t = LIST_ITEM(link, struct target, rec.link);
        if ((*word_of(t, seq) & bit_of(seq)) == 0)
            continue;
        store_touch(m->store, &t->rec);
        *word_of(t, seq) &= ~bit_of(seq);
    }
}

int directory_alert(struct machine *m, const struct machine_at *at, const struct directory_alert *in)
{
    if (directory_features(m) < ALERT_FEATURE)
        return 0;
    struct alert *a = calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    a->is.seq = directory_alert_last(m) + 1;
    a->is.at = at->id;
    a->is.wall_ms = in->wall_ms;
    a->is.severity = in->severity;
    int err = directory_texts_copy(ALERT_TEXTS(&a->is),
                                   (struct span[]){ in->event, in->account, in->tenant, in->rule, in->text });
    uint64_t seq = a->is.seq;
    if (err == 0)
        err = store_add(m->store, &directory_alert_type, &a->rec);
    if (err != 0) {
        alert_free(&a->rec);
        return err;
    }
    clear_bit(m, seq);
    if (store_len(m->store, &directory_alert_type) > DIRECTORY_ALERTS_MAX)
        store_remove(m->store, LIST_ITEM(list_first(store_all(m->store, &directory_alert_type)),
                                         struct store_rec, link));
    return 0;
}

/* Of one that nodes know by their own configuration: the tenant that such accounts have by default. */
static struct span tenant_of(const struct machine *m, struct span account)
{
    struct directory_account a = { .name = account };
    const char *at_sign = memrchr(account.p, '@', account.n);
    if (!directory_account_find(m, account, &a) && at_sign != NULL)
        a.tenant = span_sub(account, (size_t)(at_sign - account.p) + 1);
    return a.tenant;
}

int directory_alert_sender(struct machine *m, const struct machine_at *at, struct span account,
                           const struct sender_rule *rule, bool stopped, const char *text, int64_t wall_ms)
{
    return directory_alert(m, at,
                           &(struct directory_alert){ .wall_ms = wall_ms,
                                                      .severity = stopped ? DIRECTORY_ALERT_CRITICAL
                                                                          : DIRECTORY_ALERT_WARNING,
                                                      .event = stopped ? SPAN_LIT("frozen") : SPAN_LIT("warned"),
                                                      .account = account,
                                                      .tenant = tenant_of(m, account),
                                                      .rule = span_str(rule->name),
                                                      .text = span_str(text) });
}

int directory_alert_operator(struct machine *m, const struct machine_at *at, const struct command_by *by,
                             uint8_t scope, struct span name, bool frozen, struct span text)
{
    bool account = scope == COMMAND_SCOPE_ACCOUNT;
    if (directory_features(m) < OPERATOR_FEATURE)
        return 0;
    return directory_alert(m, at,
                           &(struct directory_alert){ .wall_ms = by->wall_ms,
                                                      .severity = DIRECTORY_ALERT_NOTICE,
                                                      .event = frozen ? SPAN_LIT("operator_froze")
                                                                      : SPAN_LIT("operator_thawed"),
                                                      .account = account ? name : (struct span){ 0 },
                                                      .tenant = account ? tenant_of(m, name) : name,
                                                      .text = text });
}

/* ---- the command --------------------------------------------------------------------------------------- */

static int make_target(struct machine *m, struct span name, struct target **out)
{
    struct target *t = calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    int err = directory_text_set(&t->name, name);
    if (err == 0)
        err = store_add(m->store, &directory_alert_target_type, &t->rec);
    if (err != 0)
        target_free(&t->rec);
    else
        *out = t;
    return err;
}

int directory_alert_done_apply(struct machine *m, const struct machine_at *at, const struct command *cmd,
                               struct machine_result *r)
{
    const struct command_alert_done *c = &cmd->alert_done;
    struct target *t = target_find(m, c->target);
    if (directory_features(m) < ALERT_FEATURE)
        return REFUSE(r, ERR_DENIED, "the cluster's feature level is %u, alerts need %d",
                      directory_features(m), ALERT_FEATURE);
    if (!directory_member_is_present(directory_member_get(m, directory_asker(m, cmd))))
        return REFUSE(r, ERR_DENIED, "only a member sends alerts");
    if (!directory_name_ok(c->target) || c->seqs.n % 8 != 0)
        return REFUSE(r, ERR_BAD, "no target of alerts");
    if (c->forget) {
        if (t != NULL)
            store_remove(m->store, &t->rec);
        return 0;
    }
    if (t == NULL && store_len(m->store, &directory_alert_target_type) >= DIRECTORY_ALERT_TARGETS_MAX)
        return REFUSE(r, ERR_LIMIT, "there are %d targets", DIRECTORY_ALERT_TARGETS_MAX);
    int err = t == NULL ? make_target(m, c->target, &t) : 0;
    if (err != 0)
        return err;
    store_touch(m->store, &t->rec);
    uint64_t last = directory_alert_last(m);
    if (c->upto > t->since)
        t->since = c->upto < last ? c->upto : last;
    struct cursor cur;
    cursor_init(&cur, c->seqs.p, c->seqs.n);
    for (size_t i = 0; i < c->seqs.n / 8; i++) {
        uint64_t seq = cursor_u64(&cur);
        if (seq <= last && last - seq < DIRECTORY_ALERTS_MAX)
            *word_of(t, seq) |= bit_of(seq);
    }
    r->id = at->id;
    return 0;
}
