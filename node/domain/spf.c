/* check_host() of RFC 7208 as a machine: records of included domains are frames on a stack, and what waits
 * for the DNS is a phase. Pure.
 *
 *     RECORD -> TERMS -> { ADDRESS, EXISTS, MX -> MX_HOST, PTR -> PTR_HOST, RECORD of an include } -> TERMS
 * ...
 *            -> EXPLAIN -> DONE
 *
 * A term whose macros want the name of the address waits for PTR, and is then begun again.
 */
#include "node/domain/spf.h"

#include "base/ensure.h"
#include "base/err.h"
#include "node/domain/name.h"
#include "node/domain/spf_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define LOOKUPS_MAX 10
#define VOIDS_MAX 2
#define HOSTS_MAX 10
#define FRAMES_MAX (LOOKUPS_MAX + 1) /* an include is a look-up */
#define RECORD_MAX 16384             /* octets; the largest in use have some hundred */
#define LOCAL_MAX 255

enum phase {
    PHASE_RECORD,
    PHASE_TERMS, /* the only one in which there is no question */
    PHASE_ADDRESS,
    PHASE_EXISTS,
    PHASE_MX,
    PHASE_MX_HOST,
    PHASE_PTR,
    PHASE_PTR_HOST,
    PHASE_EXPLAIN,
    PHASE_DONE
};

struct frame {
    char domain[256];
    struct buf record;
    size_t at;                 /* of the next term */
    struct spf_term include;   /* the term of the frame below that we are the answer to */
    bool counted;              /* the term's look-up */
    bool needed;               /* an include or redirect: there must be a record */
    struct span redirect, exp; /* in record */
};

struct spf {
    struct ip_addr ip;
    char local[LOCAL_MAX + 1], domain[256], helo[256], receiver[256];
    int64_t now_s;
    enum phase phase;
    struct spf_question question;
    struct frame frames[FRAMES_MAX];
    unsigned depth;
    struct spf_term term; /* that is being evaluated */
    char hosts[HOSTS_MAX][256];
    unsigned nhosts, host;
    bool names_known;
    char names[HOSTS_MAX][256]; /* the address's, confirmed */
    unsigned nnames;
    struct spf_verdict verdict;
};

const char *spf_result_name(enum spf_result r)
{
    static const char *const names[] = { "none",     "neutral",   "pass",     "fail",
                                         "softfail", "temperror", "permerror" };
    return names[r];
}

static void copy(char *out, size_t cap, struct span s)
{
    snprintf(out, cap, "%.*s", (int)(s.n < cap ? s.n : cap - 1), s.n == 0 ? "" : s.p);
}

static struct frame *top(struct spf *s)
{
    ensure(s->depth > 0);
    return &s->frames[s->depth - 1];
}

/* ---- the end ------------------------------------------------------------------------------------------- */

static void finish(struct spf *s, enum spf_result r, const char *why)
{
    s->verdict.result = r;
    s->phase = PHASE_DONE;
    snprintf(s->verdict.why, sizeof s->verdict.why, "%s", why);
}

static void blame(struct spf *s, struct span term)
{
    copy(s->verdict.term, sizeof s->verdict.term, term);
    snprintf(s->verdict.domain, sizeof s->verdict.domain, "%s", top(s)->domain);
}

static void finish_error(struct spf *s, enum spf_result r, struct span term, const char *why)
{
    blame(s, term);
    finish(s, r, why);
}

/* ---- questions ----------------------------------------------------------------------------------------- */

static void ask(struct spf *s, enum phase phase, enum spf_type type, const char *name)
{
    s->phase = phase;
    s->question.type = type;
    snprintf(s->question.name, sizeof s->question.name, "%s", name);
}

static void ask_address(struct spf *s, enum phase phase, const char *name)
{
    ask(s, phase, s->ip.family == 6 ? SPF_TYPE_AAAA : SPF_TYPE_A, name);
}

/* False: that was one too many. */
static bool count_lookup(struct spf *s)
{
    if (++s->verdict.lookups <= LOOKUPS_MAX)
        return true;
    finish_error(s, SPF_PERMERROR, s->term.text, "more than 10 terms make DNS look-ups");
    return false;
}

static bool count_term(struct spf *s)
{
    if (top(s)->counted)
        return true;
    top(s)->counted = true;
    return count_lookup(s);
}

static bool count_void(struct spf *s, const struct spf_answer *a)
{
    if ((a->status == SPF_DNS_OK && a->n > 0) || ++s->verdict.voids <= VOIDS_MAX)
        return true;
    finish_error(s, SPF_PERMERROR, s->term.text, "more than 2 look-ups find nothing");
    return false;
}

static struct spf_values values(struct spf *s)
{
    struct span domain = span_str(top(s)->domain), name = { "", 0 };
    for (int want = 0; want < 3 && name.n == 0;
         want++) /* the domain itself, one below it, any (section 7.3) */
        for (unsigned i = 0; i < s->nnames && name.n == 0; i++) {
            struct span n = span_str(s->names[i]);
            if (want == 0 ? span_eq_nocase(n, domain) : want == 1 ? domain_name_within(n, domain) : true)
                name = n;
        }
    return (struct spf_values){ .ip = s->ip,
                                .local = span_str(s->local),
                                .sender_domain = span_str(s->domain),
                                .helo = span_str(s->helo),
                                .receiver = span_str(s->receiver),
                                .domain = domain,
                                .name = name,
                                .now_s = s->now_s };
}

/* ---- results of a record ------------------------------------------------------------------------------- */

static void next_term(struct spf *s)
{
    struct frame *f = top(s);
    struct span rest = span_sub(buf_span(&f->record), f->at), term;
    (void)spf_term_next(&rest, &term);
    f->at = f->record.len - rest.n;
    f->counted = false;
    s->phase = PHASE_TERMS;
}

static void no_match(struct spf *s)
{
    s->verdict.term[0] = '\0';
    s->verdict.domain[0] = '\0';
    next_term(s);
}

static void explain(struct spf *s)
{
    struct span exp = top(s)->exp;
    struct spf_values v = values(s);
    char name[256];
    if (exp.n > 0 && spf_spec_expand(exp, &v, name) == 0)
        ask(s, PHASE_EXPLAIN, SPF_TYPE_TXT, name);
    else
        finish(s, SPF_FAIL, "");
}

/* The record on top says so: the whole verdict, or whether an include matches (section 5.2). */
static void conclude(struct spf *s, enum spf_result r)
{
    if (s->depth == 1 && r == SPF_FAIL) {
        s->verdict.result = r;
        explain(s);
        return;
    }
    if (s->depth == 1) {
        finish(s, r, "");
        return;
    }
    struct spf_term include = top(s)->include;
    buf_reset(&top(s)->record);
    s->depth--;
    if (r != SPF_PASS) {
        no_match(s);
        return;
    }
    if (s->depth == 1)
        blame(s, include.text);
    conclude(s, include.result);
}

static void match(struct spf *s)
{
    blame(s, s->term.text);
    conclude(s, s->term.result);
}

/* ---- records ------------------------------------------------------------------------------------------- */

static bool is_spf(struct span text)
{
    return text.n >= 6 && strncasecmp(text.p, "v=spf1", 6) == 0 && (text.n == 6 || text.p[6] == ' ');
}

/* All of it is looked at before any of it counts (section 4.6). */
static void check_record(struct spf *s)
{
    struct frame *f = top(s);
    struct span rest = span_sub(buf_span(&f->record), 6), text;
    f->at = 6;
    while (spf_term_next(&rest, &text)) {
        struct spf_term t;
        bool good = spf_term_parse(text, &t) == 0;
        if (good && (t.kind == SPF_REDIRECT || t.kind == SPF_EXP)) {
            struct span *keep = t.kind == SPF_EXP ? &f->exp : &f->redirect;
            good = keep->n == 0; /* twice is a fault (section 6) */
            *keep = t.spec;
        }
        if (!good) {
            finish_error(s, SPF_PERMERROR, text, "the record has a term that is not understood");
            return;
        }
    }
    s->phase = PHASE_TERMS;
}

static void on_record(struct spf *s, const struct spf_answer *a)
{
    struct frame *f = top(s);
    unsigned found = 0;
    struct buf text;
    if (a->status == SPF_DNS_FAILED) {
        finish_error(s, SPF_TEMPERROR, span_str(f->domain), "the DNS does not answer");
        return;
    }
    buf_init(&text, 65536);
    for (uint32_t i = 0; i < a->n; i++) {
        buf_reset(&text);
        if (domain_txt_join(a->records[i], &text) != 0 || !is_spf(buf_span(&text)))
            continue;
        if (found++ == 0)
            buf_put_span(&f->record, buf_span(&text));
    }
    buf_fini(&text);
    if (found == 0 && f->needed)
        finish_error(s, SPF_PERMERROR, span_str(f->domain), "an included domain has no SPF record");
    else if (found == 0)
        finish(s, SPF_NONE, "there is no SPF record");
    else if (found > 1)
        finish_error(s, SPF_PERMERROR, span_str(f->domain), "there is more than one SPF record");
    else if (buf_err(&f->record) != 0)
        finish_error(s, SPF_PERMERROR, span_str(f->domain), "the record is too long");
    else
        check_record(s);
}

/* Asks for a record in the frame on top. */
static void enter(struct spf *s, const char *domain, bool needed)
{
    struct frame *f = top(s);
    snprintf(f->domain, sizeof f->domain, "%s", domain);
    if (f->record.max == 0)
        buf_init(&f->record, RECORD_MAX);
    buf_reset(&f->record);
    f->needed = needed;
    f->counted = false;
    f->redirect = f->exp = span_of(NULL, 0);
    ask(s, PHASE_RECORD, SPF_TYPE_TXT, domain);
}

/* ---- terms --------------------------------------------------------------------------------------------- */

static bool address_matches(const struct spf *s, const struct spf_answer *a)
{
    size_t want = s->ip.family == 6 ? 16 : 4;
    unsigned bits = s->ip.family == 6 ? s->term.bits6 : s->term.bits4;
    for (uint32_t i = 0; i < a->n; i++)
        if (a->records[i].n == want && spf_bits_match(s->ip.bytes, (const uint8_t *)a->records[i].p, bits))
            return true;
    return false;
}

/* Temporary failures end it; false then. */
static bool answered(struct spf *s, const struct spf_answer *a)
{
    if (a->status != SPF_DNS_FAILED)
        return true;
    finish_error(s, SPF_TEMPERROR, s->term.text, "the DNS does not answer");
    return false;
}

static void on_address(struct spf *s, const struct spf_answer *a)
{
    if (!answered(s, a) || !count_void(s, a))
        return;
    if (s->phase == PHASE_EXISTS ? a->n > 0 : address_matches(s, a))
        match(s);
    else
        no_match(s);
}

static void next_mx_host(struct spf *s)
{
    if (s->host < s->nhosts)
        ask_address(s, PHASE_MX_HOST, s->hosts[s->host]);
    else
        no_match(s);
}

static void on_mx(struct spf *s, const struct spf_answer *a)
{
    if (!answered(s, a) || !count_void(s, a))
        return;
    if (a->n > HOSTS_MAX) {
        finish_error(s, SPF_PERMERROR, s->term.text, "more than 10 MX hosts");
        return;
    }
    s->nhosts = s->host = 0;
    for (uint32_t i = 0; i < a->n; i++)
        if (a->records[i].n > 2 &&
            domain_name_from_wire(span_sub(a->records[i], 2), s->hosts[s->nhosts]) == 0)
            s->nhosts++;
    next_mx_host(s);
}

static void on_mx_host(struct spf *s, const struct spf_answer *a)
{
    if (!answered(s, a))
        return;
    s->host++;
    if (address_matches(s, a))
        match(s);
    else
        next_mx_host(s);
}

static void ask_names(struct spf *s)
{
    char name[80];
    ask(s, PHASE_PTR, SPF_TYPE_PTR, ip_reverse_name(&s->ip, name));
}

static void next_ptr_host(struct spf *s)
{
    if (s->host < s->nhosts) {
        ask_address(s, PHASE_PTR_HOST, s->hosts[s->host]);
        return;
    }
    s->names_known = true;
    s->phase = PHASE_TERMS; /* the term that wanted them, once more */
}

/* Failures mean that there are no names (section 5.5). */
static void on_ptr(struct spf *s, const struct spf_answer *a)
{
    if (a->status != SPF_DNS_FAILED && !count_void(s, a))
        return;
    s->nhosts = s->host = 0;
    for (uint32_t i = 0; a->status == SPF_DNS_OK && i < a->n && s->nhosts < HOSTS_MAX; i++)
        if (domain_name_from_wire(a->records[i], s->hosts[s->nhosts]) == 0)
            s->nhosts++;
    next_ptr_host(s);
}

static void on_ptr_host(struct spf *s, const struct spf_answer *a)
{
    size_t want = s->ip.family == 6 ? 16 : 4;
    for (uint32_t i = 0; i < a->n; i++)
        if (a->records[i].n == want && memcmp(a->records[i].p, s->ip.bytes, want) == 0) {
            memcpy(s->names[s->nnames++], s->hosts[s->host], sizeof s->names[0]);
            break;
        }
    s->host++;
    next_ptr_host(s);
}

static void on_explanation(struct spf *s, const struct spf_answer *a)
{
    struct buf text, out;
    struct spf_values v = values(s);
    buf_init(&text, 65536);
    buf_init(&out, sizeof s->verdict.explanation - 1);
    if (a->status == SPF_DNS_OK && a->n == 1 && domain_txt_join(a->records[0], &text) == 0 &&
        spf_macro_valid(buf_span(&text), true)) {
        spf_macro_expand(buf_span(&text), &v, &out);
        bool ascii = buf_err(&out) == 0;
        for (size_t i = 0; ascii && i < out.len; i++)
            ascii = out.data[i] >= ' ' && out.data[i] < 0x7f;
        if (ascii)
            copy(s->verdict.explanation, sizeof s->verdict.explanation, buf_span(&out));
    }
    buf_fini(&text);
    buf_fini(&out);
    finish(s, SPF_FAIL, "");
}

static void eval_ptr(struct spf *s, const char *name)
{
    if (!s->names_known) {
        ask_names(s);
        return;
    }
    for (unsigned i = 0; i < s->nnames; i++)
        if (domain_name_within(span_str(s->names[i]), span_str(name))) {
            match(s);
            return;
        }
    no_match(s);
}

static void eval_include(struct spf *s, const char *name)
{
    ensure(s->depth < FRAMES_MAX);
    s->frames[s->depth++].include = s->term;
    enter(s, name, true);
}

/* Those that look something up; `name` is what the domain-spec means. */
static void eval_lookup(struct spf *s, const char *name)
{
    switch (s->term.kind) {
    case SPF_INCLUDE:
        eval_include(s, name);
        break;
    case SPF_A:
        ask_address(s, PHASE_ADDRESS, name);
        break;
    case SPF_MX:
        ask(s, PHASE_MX, SPF_TYPE_MX, name);
        break;
    case SPF_EXISTS:
        ask(s, PHASE_EXISTS, SPF_TYPE_A, name);
        break;
    default:
        eval_ptr(s, name);
        break;
    }
}

/* The name that the term means. False: something else happens first, or it is over. */
static bool target(struct spf *s, struct span spec, char out[256], bool *bad)
{
    struct spf_values v;
    *bad = false;
    if (!s->names_known && spf_macro_wants_name(spec)) {
        if (count_lookup(s))
            ask_names(s);
        return false;
    }
    v = values(s);
    if (spec.n == 0)
        snprintf(out, 256, "%s", top(s)->domain);
    else
        *bad = spf_spec_expand(spec, &v, out) != 0;
    return true;
}

static void end_of_record(struct spf *s)
{
    struct frame *f = top(s);
    char name[256];
    bool bad;
    s->term = (struct spf_term){ .text = f->redirect, .kind = SPF_REDIRECT };
    if (f->redirect.n == 0) {
        conclude(s, SPF_NEUTRAL);
        return;
    }
    if (!count_term(s) || !target(s, f->redirect, name, &bad))
        return;
    if (bad)
        finish_error(s, SPF_PERMERROR, s->term.text, "redirect leads to no domain name");
    else
        enter(s, name, true);
}

static void eval_term(struct spf *s)
{
    struct frame *f = top(s);
    struct span rest = span_sub(buf_span(&f->record), f->at), text;
    char name[256];
    bool bad;
    if (!spf_term_next(&rest, &text)) {
        end_of_record(s);
        return;
    }
    ensure(spf_term_parse(text, &s->term) == 0);
    struct spf_term *t = &s->term;
    switch (t->kind) {
    case SPF_REDIRECT:
    case SPF_EXP:
    case SPF_OTHER:
        next_term(s);
        return;
    case SPF_ALL:
        match(s);
        return;
    case SPF_IP4:
    case SPF_IP6:
        if (s->ip.family == (t->kind == SPF_IP4 ? 4 : 6) &&
            spf_bits_match(s->ip.bytes, t->net, t->kind == SPF_IP4 ? t->bits4 : t->bits6))
            match(s);
        else
            no_match(s);
        return;
    default:
        break;
    }
    if (!count_term(s) || !target(s, t->spec, name, &bad))
        return;
    if (!bad)
        eval_lookup(s, name);
    else if (t->kind == SPF_INCLUDE)
        finish_error(s, SPF_PERMERROR, t->text, "include names no domain");
    else
        no_match(s); /* section 4.8: what cannot exist does not match */
}

/* ---- interface ----------------------------------------------------------------------------------------- */

struct spf *spf_new(const struct spf_input *in)
{
    struct spf *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    struct span domain = in->domain;
    if (domain.n > 0 && domain.p[domain.n - 1] == '.')
        domain.n--;
    s->ip = in->ip;
    s->now_s = in->now_s;
    copy(s->local, sizeof s->local, in->local.n == 0 ? SPAN_LIT("postmaster") : in->local);
    copy(s->domain, sizeof s->domain, domain);
    copy(s->helo, sizeof s->helo, in->helo);
    copy(s->receiver, sizeof s->receiver, in->receiver);
    s->depth = 1;
    if (in->ip.family == 0 || !domain_name_valid(domain) || memchr(domain.p, '.', domain.n) == NULL)
        finish(s, SPF_NONE, "no domain name of more than one label"); /* section 4.3 */
    else
        enter(s, s->domain, false);
    return s;
}

void spf_free(struct spf *s)
{
    if (s == NULL)
        return;
    for (unsigned i = 0; i < FRAMES_MAX; i++)
        if (s->frames[i].record.max > 0)
            buf_fini(&s->frames[i].record);
    free(s);
}

const struct spf_question *spf_next(struct spf *s)
{
    while (s->phase == PHASE_TERMS)
        eval_term(s);
    return s->phase == PHASE_DONE ? NULL : &s->question;
}

void spf_feed(struct spf *s, const struct spf_answer *a)
{
    switch (s->phase) {
    case PHASE_RECORD:
        on_record(s, a);
        break;
    case PHASE_ADDRESS:
    case PHASE_EXISTS:
        on_address(s, a);
        break;
    case PHASE_MX:
        on_mx(s, a);
        break;
    case PHASE_MX_HOST:
        on_mx_host(s, a);
        break;
    case PHASE_PTR:
        on_ptr(s, a);
        break;
    case PHASE_PTR_HOST:
        on_ptr_host(s, a);
        break;
    default:
        ensure(s->phase == PHASE_EXPLAIN);
        on_explanation(s, a);
        break;
    }
}

const struct spf_verdict *spf_verdict(const struct spf *s)
{
    return &s->verdict;
}
