/* Is a domain ready to send mail from these addresses? Pure: see check.h. */
#include "node/domain/check.h"

#include "base/ensure.h"
#include "base/err.h"
#include "node/dkim/record.h"
#include "node/domain/name.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* what is found once, and of each of the domains of the return path and of From */
#define FINDINGS_MAX (DOMAIN_CHECK_SOURCES_MAX + DOMAIN_CHECK_KEYS_MAX + 8)

enum step { STEP_MX, STEP_A, STEP_AAAA, STEP_SPF, STEP_DKIM, STEP_DMARC, STEP_DMARC_ORG, STEP_DONE };

struct domain_check {
    char domain[256], return_path[256], organisation[256];
    const struct domain_suffixes *suffixes;
    size_t nsources, nkeys, source, key;
    struct ip_addr sources[DOMAIN_CHECK_SOURCES_MAX];
    struct {
        char selector[256], domain[256];
        const struct dkim_key *key;
        bool good;
    } keys[DOMAIN_CHECK_KEYS_MAX];
    enum step step;
    bool asked; /* the step's question was asked, and is not answered */
    struct spf_question question;
    struct spf *spf;
    bool spf_passes; /* from at least one */
    bool has_dmarc;
    struct dmarc_record dmarc; /* its spans are not valid */
    size_t n;
    struct domain_finding findings[FINDINGS_MAX];
};

const char *domain_level_name(enum domain_level level)
{
    return level == DOMAIN_GOOD ? "good" : level == DOMAIN_NOTE ? "note" : "trouble";
}

/* ---- findings ------------------------------------------------------------------------------------------ */

static struct domain_finding *find(struct domain_check *c, enum domain_level level, const char *what,
                                   const char *subject, const char *result)
{
    ensure(c->n < FINDINGS_MAX);
    struct domain_finding *f = &c->findings[c->n++];
    *f = (struct domain_finding){ .level = level, .what = what };
    snprintf(f->subject, sizeof f->subject, "%s", subject);
    snprintf(f->result, sizeof f->result, "%s", result);
    return f;
}

static void say(struct domain_finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct domain_finding *f, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->text, sizeof f->text, fmt, ap);
    va_end(ap);
}

static void advise(struct domain_finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void advise(struct domain_finding *f, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->advice, sizeof f->advice, fmt, ap);
    va_end(ap);
}

static void no_answer(struct domain_check *c, const char *what, const char *subject)
{
    struct domain_finding *f = find(c, DOMAIN_TROUBLE, what, subject, "unknown");
    say(f, "the DNS does not answer");
    advise(f, "try again; if it stays so, look at the domain's name servers");
}

/* ---- where bounces go ---------------------------------------------------------------------------------- */

/* False: the next of MX, A, AAAA has to be asked. */
static bool judge_mx(struct domain_check *c, const struct spf_answer *a)
{
    char host[256];
    struct domain_finding *f;
    if (a->status == SPF_DNS_FAILED) {
        no_answer(c, "mx", c->return_path);
        return true;
    }
    if (c->step == STEP_MX && a->n == 1 && a->records[0].n == 3 && a->records[0].p[2] == 0) {
        f = find(c, DOMAIN_TROUBLE, "mx", c->return_path, "null");
        say(f, "a null MX: the domain takes no mail, so nobody hears of bounces");
        advise(f, "use a return path in a domain that takes mail");
        return true;
    }
    if (c->step == STEP_MX && a->n > 0) {
        f = find(c, DOMAIN_GOOD, "mx", c->return_path, "present");
        bool named = a->records[0].n > 2 && domain_name_from_wire(span_sub(a->records[0], 2), host) == 0;
        say(f, "%u MX host%s%s%s", a->n, a->n == 1 ? "" : "s", named ? ", one is " : "", named ? host : "");
        return true;
    }
    if (c->step != STEP_MX && a->n > 0) {
        f = find(c, DOMAIN_NOTE, "mx", c->return_path, "address");
        say(f, "no MX record: bounces go to the domain's own address");
        advise(f, "publish an MX record for %s", c->return_path);
        return true;
    }
    if (c->step != STEP_AAAA)
        return false;
    f = find(c, DOMAIN_TROUBLE, "mx", c->return_path, "none");
    say(f, "no MX record and no address: bounces cannot be delivered, and many refuse such senders");
    advise(f, "publish an MX record for %s", c->return_path);
    return true;
}

/* ---- SPF ----------------------------------------------------------------------------------------------- */

static void advise_spf(struct domain_check *c, struct domain_finding *f, const struct spf_verdict *v,
                       const char *ip)
{
    const char *kind = c->sources[c->source].family == 6 ? "ip6" : "ip4";
    switch (v->result) {
    case SPF_NONE:
        advise(f, "publish %s TXT \"v=spf1 %s:%s ~all\"", c->return_path, kind, ip);
        break;
    case SPF_TEMPERROR:
        advise(f, "try again; if it stays so, look at the name servers of %s", v->domain);
        break;
    case SPF_PERMERROR:
        advise(f, "correct the SPF record of %s: receivers ignore all of it", v->domain);
        break;
    default:
        advise(f, "add %s:%s to the SPF record of %s", kind, ip, c->return_path);
        break;
    }
}

static void judge_spf(struct domain_check *c)
{
    const struct spf_verdict *v = spf_verdict(c->spf);
    char ip[IP_TEXT_MAX];
    ip_addr_format(&c->sources[c->source], ip);
    bool all = v->result == SPF_PASS && (strcasecmp(v->term, "+all") == 0 || strcasecmp(v->term, "all") == 0);
    struct domain_finding *f = find(c,
                                    v->result != SPF_PASS ? DOMAIN_TROUBLE
                                    : all                 ? DOMAIN_NOTE
                                                          : DOMAIN_GOOD,
                                    "spf", ip, spf_result_name(v->result));
    c->spf_passes = c->spf_passes || v->result == SPF_PASS;
    if (v->why[0] != '\0')
        say(f, "%s%s%s", v->why, v->term[0] == '\0' ? "" : ": ", v->term);
    else if (v->term[0] != '\0')
        say(f, "by %s of %s (%u of 10 look-ups)", v->term, v->domain, v->lookups);
    else
        say(f, "nothing in the record of %s matches", c->return_path);
    if (v->result != SPF_PASS)
        advise_spf(c, f, v, ip);
    else if (all)
        advise(f, "let the record of %s end with ~all or -all: anybody may send in its name now",
               c->return_path);
}

/* Goes on with the sources until there is a question; NULL: all are judged. */
static const struct spf_question *next_spf(struct domain_check *c)
{
    while (c->source < c->nsources) {
        if (c->spf == NULL) {
            struct spf_input in = { .ip = c->sources[c->source],
                                    .domain = span_str(c->return_path),
                                    .helo = span_str(c->return_path) };
            c->spf = spf_new(&in);
        }
        const struct spf_question *q = c->spf == NULL ? NULL : spf_next(c->spf);
        if (q != NULL)
            return q;
        if (c->spf != NULL)
            judge_spf(c);
        else
            no_answer(c, "spf", c->return_path); /* no memory: likewise for another time */
        spf_free(c->spf);
        c->spf = NULL;
        c->source++;
    }
    return NULL;
}

/* ---- DKIM ---------------------------------------------------------------------------------------------- */

/* Whether there is a record at all. */
static bool any_key(struct domain_check *c, const struct spf_answer *a, const char *subject, const char *name)
{
    if (a->status == SPF_DNS_FAILED) {
        no_answer(c, "dkim", subject);
        return false;
    }
    if (a->n > 0)
        return true;
    struct domain_finding *f = find(c, DOMAIN_TROUBLE, "dkim", subject, "none");
    say(f, "there is no record %s", name);
    advise(f, "publish the key's record at %s", name);
    return false;
}

static const char *key_result(enum dkim_record_state state, uint32_t records)
{
    return records > 1                      ? "several"
           : state == DKIM_RECORD_GOOD      ? "good"
           : state == DKIM_RECORD_DIFFERS   ? "differs"
           : state == DKIM_RECORD_REVOKED   ? "revoked"
           : state == DKIM_RECORD_TOO_SHORT ? "short"
                                            : "broken";
}

static void say_key(struct domain_finding *f, const struct dkim_record_info *info, const char *name,
                    uint32_t records)
{
    if (records > 1)
        say(f, "%u records at %s: which one is meant is undefined", records, name);
    else if (info->state == DKIM_RECORD_GOOD)
        say(f, "%s key of %u bits%s", dkim_algorithm_name(info->algorithm), info->bits,
            info->testing ? ", marked as a test (t=y)" : "");
    else if (info->state == DKIM_RECORD_REVOKED)
        say(f, "the key is revoked: p= is empty");
    else if (info->state == DKIM_RECORD_TOO_SHORT)
        say(f, "an RSA key of %u bits: verifiers take none under %d", info->bits, DKIM_RSA_BITS_MIN);
    else if (info->state == DKIM_RECORD_DIFFERS)
        say(f, "the record is not of the key that signs here");
    else
        say(f, "%s", info->why[0] != '\0' ? info->why : "the record cannot be read");
}

static void judge_dkim(struct domain_check *c, const struct spf_answer *a)
{
    char name[600], subject[300];
    struct dkim_record_info info = { .state = DKIM_RECORD_BROKEN };
    struct buf text;
    size_t at = c->key++;
    bool own = strcmp(c->keys[at].domain, c->domain) == 0;
    snprintf(name, sizeof name, "%s._domainkey.%s", c->keys[at].selector, c->keys[at].domain);
    snprintf(subject, sizeof subject, "%.299s", own ? c->keys[at].selector : name);
    if (!any_key(c, a, subject, name))
        return;
    buf_init(&text, 65536);
    int err = domain_txt_join(a->records[0], &text);
    if (err == 0)
        err = dkim_record_check(buf_span(&text), c->keys[at].key, &info);
    buf_fini(&text);
    if (err != 0)
        info.state = DKIM_RECORD_BROKEN;
    bool good = info.state == DKIM_RECORD_GOOD && a->n == 1;
    c->keys[at].good = good;
    struct domain_finding *f = find(c,
                                    !good          ? DOMAIN_TROUBLE
                                    : info.testing ? DOMAIN_NOTE
                                                   : DOMAIN_GOOD,
                                    "dkim", subject, key_result(info.state, a->n));
    say_key(f, &info, name, a->n);
    if (!good)
        advise(f, "publish one good record at %s", name);
    else if (info.testing)
        advise(f, "take t=y out of the record once signatures verify: some ignore such keys");
}

/* ---- DMARC --------------------------------------------------------------------------------------------- */

/* The domain's own records; none of them: false. */
static bool judge_dmarc(struct domain_check *c, const struct spf_answer *a, const char *at)
{
    struct dmarc_record record;
    struct buf text;
    unsigned found = 0, bad = 0;
    bool reports = false;
    buf_init(&text, 65536);
    for (uint32_t i = 0; i < a->n; i++) {
        buf_reset(&text);
        if (domain_txt_join(a->records[i], &text) != 0)
            continue;
        int err = dmarc_parse(buf_span(&text), &record);
        if (err == ERR_NOT_FOUND)
            continue;
        found++;
        bad += err != 0;
        if (err == 0) {
            c->dmarc = record;
            reports = record.rua.n > 0;
        }
    }
    buf_fini(&text);
    if (found == 0)
        return false;
    if (found > 1 || bad > 0) {
        struct domain_finding *wrong = find(c, DOMAIN_TROUBLE, "dmarc", at, found > 1 ? "several" : "broken");
        say(wrong,
            found > 1 ? "more than one DMARC record: receivers ignore them" : "the record cannot be obeyed");
        advise(wrong, "leave one good record at _dmarc.%s: \"v=DMARC1; p=none; rua=mailto:...\"", at);
        return true;
    }
    bool own = strcmp(at, c->domain) == 0;
    enum dmarc_policy policy = own ? c->dmarc.policy : c->dmarc.subdomains;
    struct domain_finding *f =
        find(c, reports ? DOMAIN_GOOD : DOMAIN_NOTE, "dmarc", at, dmarc_policy_name(policy));
    c->has_dmarc = true;
    say(f, "mail that does not pass: %s%s; %s", dmarc_policy_name(policy), own ? "" : " (for subdomains)",
        reports ? "reports are wanted" : "nobody gets reports");
    if (!reports)
        advise(f, "add rua=mailto:... to the record at _dmarc.%s, to hear of mail that fails", at);
    return true;
}

static void no_dmarc(struct domain_check *c)
{
    struct domain_finding *f = find(c, DOMAIN_TROUBLE, "dmarc", c->organisation, "none");
    say(f, "there is no DMARC record: large receivers want one of whoever sends much");
    advise(f, "publish _dmarc.%s TXT \"v=DMARC1; p=none; rua=mailto:postmaster@%s\"", c->organisation,
           c->organisation);
}

static void judge_alignment(struct domain_check *c)
{
    bool spf = domain_aligned(c->suffixes, c->domain, c->return_path, c->has_dmarc && c->dmarc.strict_spf);
    bool passes = spf && c->spf_passes, dkim = false;
    for (size_t i = 0; i < c->nkeys; i++)
        dkim = dkim || (c->keys[i].good && domain_aligned(c->suffixes, c->domain, c->keys[i].domain,
                                                          c->has_dmarc && c->dmarc.strict_dkim));
    struct domain_finding *f;
    if (passes || dkim) {
        f = find(c, passes ? DOMAIN_GOOD : DOMAIN_NOTE, "alignment", c->return_path,
                 passes ? "aligned" : "dkim");
        if (passes && dkim)
            say(f, "SPF and DKIM can both carry DMARC");
        else if (passes)
            say(f, "SPF can carry DMARC, as long as nobody forwards the mail");
        else
            say(f, "only DKIM can carry DMARC: %s",
                spf ? "SPF does not pass" : "the return path is not aligned with From");
        if (!passes && !spf)
            advise(f, "use a return path in %s%s", c->dmarc.strict_spf ? "" : "a domain below ", c->domain);
        return;
    }
    f = find(c, c->has_dmarc || !spf ? DOMAIN_TROUBLE : DOMAIN_NOTE, "alignment", c->return_path, "none");
    say(f, "nothing known here makes DMARC pass: %s, and no DKIM key is known to be good",
        spf ? "SPF does not pass" : "the return path is not aligned with From");
    advise(f, "sign with DKIM as %s (then --selector NAME checks its key)%s%s", c->domain,
           spf ? ", and let SPF cover the addresses" : ", or use a return path in ", spf ? "" : c->domain);
}

/* ---- the steps ----------------------------------------------------------------------------------------- */

/* A name that is too long is none. */
static void ask(struct domain_check *c, enum spf_type type, const char *prefix, const char *name)
{
    char full[600];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    c->question.type = type;
    snprintf(c->question.name, sizeof c->question.name, "%.255s", full);
    c->asked = true;
}

static void next_key(struct domain_check *c)
{
    char prefix[300];
    if (c->key == c->nkeys) {
        c->step = STEP_DMARC;
        return;
    }
    snprintf(prefix, sizeof prefix, "%s._domainkey.", c->keys[c->key].selector);
    ask(c, SPF_TYPE_TXT, prefix, c->keys[c->key].domain);
}

static void begin_step(struct domain_check *c)
{
    switch (c->step) {
    case STEP_MX:
        ask(c, SPF_TYPE_MX, "", c->return_path);
        break;
    case STEP_A:
        ask(c, SPF_TYPE_A, "", c->return_path);
        break;
    case STEP_AAAA:
        ask(c, SPF_TYPE_AAAA, "", c->return_path);
        break;
    case STEP_DKIM:
        next_key(c);
        break;
    case STEP_DMARC:
        ask(c, SPF_TYPE_TXT, "_dmarc.", c->domain);
        break;
    default:
        ask(c, SPF_TYPE_TXT, "_dmarc.", c->organisation);
        break;
    }
}

const struct spf_question *domain_check_next(struct domain_check *c)
{
    while (c->step != STEP_DONE && !c->asked) {
        if (c->step != STEP_SPF) {
            begin_step(c);
            continue;
        }
        const struct spf_question *q = next_spf(c);
        if (q != NULL)
            return q;
        c->step = STEP_DKIM;
    }
    return c->step == STEP_DONE ? NULL : &c->question;
}

static void feed_dmarc(struct domain_check *c, const struct spf_answer *a)
{
    bool own = c->step == STEP_DMARC;
    const char *at = own ? c->domain : c->organisation;
    if (a->status == SPF_DNS_FAILED) {
        no_answer(c, "dmarc", at);
    } else if (!judge_dmarc(c, a, at)) {
        if (own && strcmp(c->domain, c->organisation) != 0) {
            c->step = STEP_DMARC_ORG;
            return;
        }
        no_dmarc(c);
    }
    judge_alignment(c);
    c->step = STEP_DONE;
}

void domain_check_feed(struct domain_check *c, const struct spf_answer *a)
{
    ensure(c->step != STEP_DONE);
    if (c->step == STEP_SPF) {
        spf_feed(c->spf, a);
        return;
    }
    c->asked = false;
    switch (c->step) {
    case STEP_MX:
    case STEP_A:
    case STEP_AAAA:
        c->step = judge_mx(c, a) ? STEP_SPF : c->step + 1;
        break;
    case STEP_DKIM:
        judge_dkim(c, a);
        break;
    default:
        feed_dmarc(c, a);
        break;
    }
}

/* ---- interface ----------------------------------------------------------------------------------------- */

struct domain_check *domain_check_new(const struct domain_check_input *in)
{
    struct domain_check *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    snprintf(c->domain, sizeof c->domain, "%s", in->domain);
    snprintf(c->return_path, sizeof c->return_path, "%s",
             in->return_path != NULL ? in->return_path : in->domain);
    c->suffixes = in->suffixes;
    domain_organisation(c->suffixes, c->domain, c->organisation);
    c->nsources = in->nsources > DOMAIN_CHECK_SOURCES_MAX ? DOMAIN_CHECK_SOURCES_MAX : in->nsources;
    for (size_t i = 0; i < c->nsources; i++)
        c->sources[i] = in->sources[i];
    c->nkeys = in->nkeys > DOMAIN_CHECK_KEYS_MAX ? DOMAIN_CHECK_KEYS_MAX : in->nkeys;
    for (size_t i = 0; i < c->nkeys; i++) {
        const struct domain_check_key *k = &in->keys[i];
        snprintf(c->keys[i].selector, sizeof c->keys[i].selector, "%s", k->selector);
        snprintf(c->keys[i].domain, sizeof c->keys[i].domain, "%s",
                 k->domain != NULL ? k->domain : c->domain);
        c->keys[i].key = k->key;
    }
    return c;
}

void domain_check_free(struct domain_check *c)
{
    if (c == NULL)
        return;
    spf_free(c->spf);
    free(c);
}

size_t domain_check_count(const struct domain_check *c)
{
    return c->n;
}

const struct domain_finding *domain_check_at(const struct domain_check *c, size_t i)
{
    ensure(i < c->n);
    return &c->findings[i];
}

bool domain_check_bad(const struct domain_check *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->findings[i].level == DOMAIN_TROUBLE)
            return true;
    return false;
}
