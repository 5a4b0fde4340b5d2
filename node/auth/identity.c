/* Who may send as whom. Pure, but for the reference count. */
#include "node/auth/identity.h"

#include "base/ensure.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct identity_box {
    struct auth_identity id; /* first */
    atomic_uint refs;
    char text[];
};

static struct identity_box *box_of(struct auth_identity *id)
{
    return (struct identity_box *)id;
}

struct auth_identity *auth_identity_new(struct span account, struct span tenant, struct span senders,
                                        struct span hash, uint8_t cls)
{
    const struct span parts[4] = { account, tenant, senders, hash };
    const char *at[4];
    size_t n = 0;
    for (int i = 0; i < 4; i++)
        n += parts[i].n + 1;
    struct identity_box *b = malloc(sizeof *b + n);
    if (b == NULL)
        return NULL;
    char *p = b->text;
    for (int i = 0; i < 4; i++) {
        at[i] = p;
        if (parts[i].n > 0)
            memcpy(p, parts[i].p, parts[i].n);
        p[parts[i].n] = '\0';
        p += parts[i].n + 1;
    }
    b->id = (struct auth_identity){
        .account = at[0], .tenant = at[1], .senders = at[2], .hash = at[3], .class = cls
    };
    atomic_init(&b->refs, 1);
    return &b->id;
}

struct auth_identity *auth_identity_hold(struct auth_identity *id)
{
    atomic_fetch_add_explicit(&box_of(id)->refs, 1, memory_order_relaxed);
    return id;
}

void auth_identity_rele(struct auth_identity *id)
{
    if (id == NULL)
        return;
    unsigned was = atomic_fetch_sub_explicit(&box_of(id)->refs, 1, memory_order_acq_rel);
    ensure(was > 0);
    if (was == 1)
        free(box_of(id));
}

/* ---- senders ------------------------------------------------------------------------------------------- */

struct mailbox {
    struct span local, domain; /* without '@': all is local */
};

static struct mailbox mailbox_of(struct span s)
{
    const char *at = s.n > 0 ? memrchr(s.p, '@', s.n) : NULL;
    if (at == NULL)
        return (struct mailbox){ s, { NULL, 0 } };
    size_t n = (size_t)(at - s.p);
    return (struct mailbox){ span_of(s.p, n), span_sub(s, n + 1) };
}

/* user+tag -> user. A local part that begins with '+' has no user to speak of, and a quoted one no tag. */
static struct span without_tag(struct span local)
{
    const char *plus = local.n > 0 && local.p[0] != '"' ? memchr(local.p, '+', local.n) : NULL;
    return plus == NULL || plus == local.p ? local : span_of(local.p, (size_t)(plus - local.p));
}

static bool is_address(struct mailbox from, struct span address, bool subaddresses)
{
    struct mailbox own = mailbox_of(address);
    if (!span_eq_nocase(from.domain, own.domain))
        return false;
    return span_eq_nocase(from.local, own.local) ||
           (subaddresses && span_eq_nocase(without_tag(from.local), own.local));
}

/* "*", "domain", "@domain" or an address. */
static bool item_allows(struct mailbox from, struct span item, bool subaddresses)
{
    if (span_eq(item, SPAN_LIT("*")))
        return true;
    if (item.n > 0 && item.p[0] == '@')
        return span_eq_nocase(from.domain, span_sub(item, 1));
    if (memchr(item.p, '@', item.n) == NULL)
        return span_eq_nocase(from.domain, item);
    return is_address(from, item, subaddresses);
}

static bool listed(const struct auth_identity *id, struct mailbox from, bool subaddresses, bool any)
{
    if (is_address(from, span_str(id->account), subaddresses))
        return true;
    for (const char *p = id->senders; *p != '\0';) {
        size_t n = strcspn(p, ",");
        struct span item = span_of(p, n);
        if (n > 0 && (any || !span_eq(item, SPAN_LIT("*"))) && item_allows(from, item, subaddresses))
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

bool auth_may_send(const struct auth_identity *id, struct span mail_from, bool subaddresses)
{
    return mail_from.n == 0 || listed(id, mailbox_of(mail_from), subaddresses, true);
}

bool auth_names_sender(const struct auth_identity *id, struct span mail_from, bool subaddresses)
{
    return listed(id, mailbox_of(mail_from), subaddresses, false);
}

/* ---- rules --------------------------------------------------------------------------------------------- */

/* "*.example.com" and "*@*.example.com" mean accounts at names below it. */
bool auth_rule_matches(struct span pattern, struct span account)
{
    if (span_eq(pattern, SPAN_LIT("*")) || span_eq_nocase(pattern, account))
        return true;
    struct mailbox a = mailbox_of(account);
    if (a.domain.n == 0)
        return false;
    struct mailbox p = mailbox_of(pattern);
    if (p.domain.p == NULL) { /* no local part: any */
        p.domain = p.local;
        p.local = SPAN_LIT("*");
    }
    if (!span_eq(p.local, SPAN_LIT("*")) && !span_eq_nocase(p.local, a.local))
        return false;
    if (span_starts(p.domain, SPAN_LIT("*."))) {
        struct span tail = span_sub(p.domain, 1); /* ".example.com" */
        return a.domain.n > tail.n && span_eq_nocase(span_sub(a.domain, a.domain.n - tail.n), tail);
    }
    return span_eq_nocase(p.domain, a.domain);
}
