/* Which recipients an operator means. Pure: no I/O, any thread. */
#include "node/admin/selector.h"

#include "base/err.h"

#include <errno.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

/* Far above what a sane pattern needs for 512 bytes of reply, and a few milliseconds at the worst. */
#define MATCH_STEPS_MAX 100000
#define MATCH_DEPTH_MAX 1000
#define MATCH_HEAP_MAX_KIB 1024

struct admin_regex {
    pcre2_code *code;
    pcre2_match_context *limits;
};

int admin_regex_new(const char *pattern, struct admin_regex **out, struct admin_error *e)
{
    if (strlen(pattern) > ADMIN_REGEX_MAX)
        return admin_fail(e, ERR_BAD, "the pattern is longer than %d bytes", ADMIN_REGEX_MAX);
    struct admin_regex *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return admin_fail(e, -ENOMEM, "out of memory");
    int code;
    PCRE2_SIZE at;
    /* \C could split a character; UTF is off since replies are bytes. */
    r->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                            PCRE2_CASELESS | PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UTF, &code, &at, NULL);
    if (r->code == NULL) {
        char why[160] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof(why));
        admin_regex_free(r);
        return admin_fail(e, ERR_BAD, "reply_match: %s at character %zu", why, (size_t)at + 1);
    }
    r->limits = pcre2_match_context_create(NULL);
    if (r->limits == NULL) {
        admin_regex_free(r);
        return admin_fail(e, -ENOMEM, "out of memory");
    }
    pcre2_set_match_limit(r->limits, MATCH_STEPS_MAX);
    pcre2_set_depth_limit(r->limits, MATCH_DEPTH_MAX);
    pcre2_set_heap_limit(r->limits, MATCH_HEAP_MAX_KIB);
    *out = r;
    return 0;
}

void admin_regex_free(struct admin_regex *r)
{
    if (r == NULL)
        return;
    pcre2_match_context_free(r->limits);
    pcre2_code_free(r->code);
    free(r);
}

bool admin_regex_match(const struct admin_regex *r, struct span text)
{
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (data == NULL)
        return false;
    int n = pcre2_match(r->code, (PCRE2_SPTR)(text.n == 0 ? "" : text.p), text.n, 0, 0, data, r->limits);
    pcre2_match_data_free(data);
    return n >= 0;
}

const char *admin_state_name(enum admin_state state)
{
    static const char *const names[ADMIN_STATES] = {
        [ADMIN_STATE_QUEUED] = "queued",   [ADMIN_STATE_HELD] = "held",
        [ADMIN_STATE_ACTIVE] = "active",   [ADMIN_STATE_DELIVERED] = "delivered",
        [ADMIN_STATE_RELAYED] = "relayed", [ADMIN_STATE_BOUNCED] = "bounced",
        [ADMIN_STATE_EXPIRED] = "expired", [ADMIN_STATE_DELETED] = "deleted",
        [ADMIN_STATE_MOVED] = "moved",     [ADMIN_STATE_REJECTED] = "rejected",
    };
    return (unsigned)state < ADMIN_STATES ? names[state] : "unknown";
}

bool admin_address_match(const char *want, struct span address)
{
    struct span w = span_str(want);
    if (span_eq(w, SPAN_LIT("<>")))
        return address.n == 0;
    if (w.n > 0 && w.p[0] == '@') {
        if (address.n < w.n)
            return false;
        /* The last "@" divides: a quoted local part may hold another. */
        struct span tail = span_sub(address, address.n - w.n);
        return span_eq_nocase(tail, w) && memchr(tail.p + 1, '@', tail.n - 1) == NULL;
    }
    return span_eq_nocase(w, address);
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool id_selected(const struct admin_selector *sel, const char *id)
{
    return sel->nids == 0 || bsearch(&id, sel->ids, sel->nids, sizeof(*sel->ids), compare_ids) != NULL;
}

unsigned admin_selector_needs(const struct admin_selector *sel)
{
    return (sel->sender != NULL ? ADMIN_NEED_SENDER : 0u) |
           (sel->recipient != NULL ? ADMIN_NEED_RECIPIENT : 0u) |
           (sel->reply != NULL ? ADMIN_NEED_REPLY : 0u) | (sel->site != NULL ? ADMIN_NEED_SITE : 0u) |
           (sel->account != NULL ? ADMIN_NEED_ACCOUNT : 0u) | (sel->state >= 0 ? ADMIN_NEED_STATE : 0u) |
           (sel->arrived_before_ms != 0 ? ADMIN_NEED_ARRIVAL : 0u) |
           (sel->tenant != NULL ? ADMIN_NEED_TENANT : 0u) | (sel->held_for != NULL ? ADMIN_NEED_HELD : 0u);
}

/* "example.org" is its queues of all pools, "news/example.org" that of one. */
static bool site_selected(struct span wanted, struct span site)
{
    const char *slash = site.n == 0 ? NULL : memrchr(site.p, '/', site.n);
    return span_eq_nocase(wanted, site) ||
           (slash != NULL && span_eq_nocase(wanted, span_sub(site, (size_t)(slash - site.p) + 1)));
}

bool admin_selector_match_some(const struct admin_selector *sel, const struct admin_row *row, unsigned have)
{
    unsigned look = admin_selector_needs(sel) & have;
    if (!id_selected(sel, row->id))
        return false;
    if ((look & ADMIN_NEED_STATE) && (int)row->state != sel->state)
        return false;
    if ((look & ADMIN_NEED_ARRIVAL) && row->arrival_ms >= sel->arrived_before_ms)
        return false;
    if ((look & ADMIN_NEED_SITE) && !site_selected(span_str(sel->site), row->site))
        return false;
    if ((look & ADMIN_NEED_ACCOUNT) && !span_eq_nocase(span_str(sel->account), row->account))
        return false;
    if ((look & ADMIN_NEED_TENANT) && !span_eq(span_str(sel->tenant), row->tenant))
        return false;
    if ((look & ADMIN_NEED_HELD) && !span_eq(span_str(sel->held_for), row->held_for))
        return false;
    if ((look & ADMIN_NEED_SENDER) && !admin_address_match(sel->sender, row->sender))
        return false;
    if ((look & ADMIN_NEED_RECIPIENT) && !admin_address_match(sel->recipient, row->recipient))
        return false;
    return !(look & ADMIN_NEED_REPLY) || admin_regex_match(sel->reply, row->reply);
}

bool admin_selector_match(const struct admin_selector *sel, const struct admin_row *row)
{
    return admin_selector_match_some(sel, row, ~0u);
}

bool admin_selector_empty(const struct admin_selector *sel)
{
    return sel->nids == 0 && admin_selector_needs(sel) == 0;
}
