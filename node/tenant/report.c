/* Gathering what a tenant is told: see report.h. */
#include "node/tenant/report.h"

#include "base/err.h"
#include "consensus/web_sender.h"

#include <stdio.h>
#include <string.h>

#define PAGE 500 /* records looked at under one lock */
#define HOUR_MS INT64_C(3600000)

struct span tenant_default(struct span account)
{
    const char *at = account.n > 0 ? memrchr(account.p, '@', account.n) : NULL;
    return at != NULL ? span_sub(account, (size_t)(at - account.p) + 1) : span_of("", 0);
}

static bool was_seen(const struct machine *m, struct span account)
{
    struct directory_record r;
    struct directory_web w;
    return directory_record_find(m, account, &r) || directory_web_find(m, account, &w);
}

/* The account that he sends by. */
static struct span account_of(struct span sender)
{
    struct span host = web_sender_host(sender);
    return host.n > 0 ? host : sender;
}

struct span tenant_of(const struct machine *m, struct span account)
{
    struct directory_account a;
    struct span whose = account_of(account);
    return directory_account_find(m, whose, &a) ? a.tenant : tenant_default(whose);
}

bool tenant_owns(const struct machine *m, struct span tenant, struct span account)
{
    struct directory_account a;
    bool there = directory_account_find(m, account_of(account), &a) || was_seen(m, account);
    return there && span_eq(tenant_of(m, account), tenant);
}

/* What does not fit is cut. */
static void copy(char *out, size_t cap, struct span s)
{
    size_t n = s.n < cap ? s.n : cap - 1;
    if (n > 0)
        memcpy(out, s.p, n);
    out[n] = '\0';
}

/* ---- counts -------------------------------------------------------------------------------------------- */

struct walk {
    const struct machine *m;
    struct tenant_report *out;
    uint32_t seen;
    char last[COMMAND_NAME_MAX + 1];
};

static void add_top(struct tenant_report *out, const struct tenant_report_sender *s)
{
    uint32_t at = out->top_n;
    while (at > 0 && out->top[at - 1].delivered < s->delivered)
        at--;
    if (at == TENANT_REPORT_SENDERS)
        return;
    if (out->top_n < TENANT_REPORT_SENDERS)
        out->top_n++;
    memmove(&out->top[at + 1], &out->top[at], (out->top_n - 1 - at) * sizeof *s);
    out->top[at] = *s;
}

static void add_record(struct tenant_report *out, const struct directory_record *r)
{
    const uint64_t *counts = r->counts[out->window];
    struct tenant_report_sender s = { .delivered = counts[RECORD_DELIVERED],
                                      .deferred = counts[RECORD_DEFERRED],
                                      .bounced =
                                          directory_record_sum(r, out->window, RECORD_HARD, RECORD_HARD_END),
                                      .complaints = counts[RECORD_COMPLAINT],
                                      .failed_logins = counts[RECORD_FAILED_LOGINS] };
    uint64_t any = 0;
    for (uint8_t kind = 0; kind < RECORD_KINDS; kind++) {
        out->counts[kind] += counts[kind];
        any |= counts[kind];
    }
    if (any == 0)
        return;
    copy(s.account, sizeof s.account, r->account);
    out->senders++;
    add_top(out, &s);
}

static int on_record(void *arg, const struct directory_record *r)
{
    struct walk *w = arg;
    if (tenant_owns(w->m, span_str(w->out->tenant), r->account))
        add_record(w->out, r);
    copy(w->last, sizeof w->last, r->account);
    return ++w->seen % PAGE == 0;
}

static void count_all(struct machine *m, struct tenant_report *out)
{
    struct walk w = { .m = m, .out = out };
    uint32_t before;
    do {
        char after[COMMAND_NAME_MAX + 1];
        before = w.seen;
        memcpy(after, w.last, sizeof after);
        machine_read_lock(m);
        (void)directory_record_each(m, span_str(after), on_record, &w);
        machine_read_unlock(m);
    } while (w.seen != before && w.seen % PAGE == 0);
}

/* ---- who is stopped ------------------------------------------------------------------------------------ */

static int on_frozen(void *arg, const struct machine_frozen *f)
{
    struct walk *w = arg;
    struct tenant_report *out = w->out;
    struct span tenant = span_str(out->tenant);
    bool whole = f->scope == COMMAND_SCOPE_TENANT;
    if (whole ? !span_eq(f->name, tenant) : !tenant_owns(w->m, tenant, f->name))
        return 0;
    if (out->nfrozen++ >= TENANT_REPORT_FROZEN)
        return 0;
    struct tenant_report_frozen *row = &out->frozen[out->frozen_n++];
    uint64_t now_ms = machine_now_ms(w->m);
    row->scope = f->scope;
    row->mode = f->mode;
    row->since_ms = f->wall_ms;
    row->left_ms = f->until_ms > now_ms ? f->until_ms - now_ms : 0;
    copy(row->name, sizeof row->name, f->name);
    copy(row->reason, sizeof row->reason, f->reason);
    return 0;
}

/* ---- what was done ------------------------------------------------------------------------------------- */

static struct span word_behind(struct span what, struct span part)
{
    const char *at = memmem(what.p, what.n, part.p, part.n);
    if (at == NULL)
        return span_of("", 0);
    struct span rest = span_sub(what, (size_t)(at - what.p) + part.n);
    size_t n = 0;
    while (n < rest.n && rest.p[n] != ' ')
        n++;
    return span_of(rest.p, n > 0 && rest.p[n - 1] == ':' ? n - 1 : n);
}

/* Whether a line of the audit trail is about a sender, in the words of who wrote it, and the sender this
 * tenant's. */
static bool concerns(const struct walk *w, struct span what)
{
    static const struct span kinds[] = { { "freeze ", 7 }, { "thaw ", 5 },   { "warn ", 5 },
                                         { "hold ", 5 },   { "sender ", 7 }, { "limit ", 6 } };
    struct span tenant = span_str(w->out->tenant);
    bool of_kind = false, sender = span_starts(what, kinds[4]);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        of_kind |= span_starts(what, kinds[i]);
    if (!of_kind)
        return false;
    struct span account = word_behind(what, sender ? SPAN_LIT("sender ") : SPAN_LIT(" account "));
    if (!sender && account.n == 0)
        account = word_behind(what, SPAN_LIT("account "));
    if (account.n > 0)
        return tenant_owns(w->m, tenant, account);
    struct span whole = word_behind(what, SPAN_LIT("tenant "));
    return whole.n > 0 && span_eq(whole, tenant);
}

static int64_t window_ms(enum directory_record_window w)
{
    return w == DIRECTORY_RECORD_HOUR ? HOUR_MS : w == DIRECTORY_RECORD_DAY ? 24 * HOUR_MS : 7 * 24 * HOUR_MS;
}

static int on_audit(void *arg, const struct directory_audit *a)
{
    struct walk *w = arg;
    struct tenant_report *out = w->out;
    if (a->wall_ms != 0 && a->wall_ms < out->now_ms - window_ms(out->window))
        return 0; /* clocks differ between nodes: an older one may follow a newer one */
    if (!concerns(w, a->what) || out->nacts++ >= TENANT_REPORT_ACTS)
        return 0;
    struct tenant_report_act *act = &out->acts[out->acts_n++];
    act->at_ms = a->wall_ms;
    copy(act->what, sizeof act->what, a->what);
    /* which operator it was is not the tenant's to know */
    copy(act->by, sizeof act->by,
         span_starts(a->who, SPAN_LIT("rule ")) ? a->who : SPAN_LIT("the postmaster"));
    return 0;
}

int tenant_report_gather(struct machine *m, struct span tenant, enum directory_record_window window,
                         int64_t now_ms, struct tenant_report *out)
{
    struct directory_tenant t;
    struct span contact;
    struct walk w = { .m = m, .out = out };
    memset(out, 0, sizeof *out);
    out->window = window;
    out->now_ms = now_ms;
    copy(out->tenant, sizeof out->tenant, tenant);
    machine_read_lock(m);
    bool known = directory_tenant_find(m, tenant, &t);
    if (known && directory_contact_find(m, tenant, &contact))
        copy(out->contact, sizeof out->contact, contact);
    if (known) {
        (void)machine_frozen_each(m, on_frozen, &w);
        (void)directory_audit_each(m, 0, on_audit, &w);
    }
    machine_read_unlock(m);
    if (!known)
        return ERR_NOT_FOUND;
    count_all(m, out);
    return 0;
}

uint64_t tenant_report_bounced(const struct tenant_report *r)
{
    uint64_t n = 0;
    for (uint8_t kind = RECORD_HARD; kind < RECORD_HARD_END; kind++)
        n += r->counts[kind];
    return n;
}
