/* See charge_fixture.h. */
#include "charge_fixture.h"

#include "consensus/command.h"
#include "fixture.h"
#include "node/core/cluster.h"
#include "node/core/frozen.h"
#include "node/core/node.h"
#include "node/core/notice.h"
#include "node/policy/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct cluster {
    struct policy *policy;
};

struct world books_world;
static struct cluster the_cluster;
static struct node node = { .cluster = &the_cluster };
static struct worker worker = { .node = &node };
static struct ingress ingress = { .w = &worker };
static struct listener listener;
struct auth_identity books_relay = {
    .account = RELAY, .tenant = "hosting", .senders = "*", .hash = "", .class = 1
};
struct auth_identity books_anna = { .account = ANNA, .tenant = "org", .senders = "", .hash = "" };
static struct smtp_server_mail mail;
static struct config *config;
unsigned books_notices;
struct notice_over books_told;

/* ---- what charge.c asks of the node ------------------------------------------------------------------- */

struct machine *cluster_machine(struct cluster *c)
{
    (void)c;
    return books_world.nodes[0].m;
}

struct policy *cluster_policy(struct cluster *c)
{
    return policy_hold(c->policy);
}

bool cluster_account_find(struct cluster *c, struct span name, struct account *out, struct auth_text *text)
{
    (void)c, (void)text;
    bool gone = span_eq(name, SPAN_LIT(GONE));
    *out = (struct account){ .name = gone ? GONE : ANNA, .tenant = "org", .disabled = gone };
    return gone || span_eq(name, SPAN_LIT(ANNA));
}

void notice_over_limit(struct session *s, const struct notice_over *o)
{
    (void)s;
    books_notices++;
    books_told = (struct notice_over){ .held = o->held, .recipients = o->recipients };
}

const struct smtp_server_mail *smtp_server_mail(const struct smtp_server *s)
{
    (void)s;
    return &mail;
}

enum web_answer books_lets_be;
static struct web_claim claim;

enum web_answer web_claim(struct cluster *c, struct span name, const struct policy_web *policy,
                          struct worker *wk, void (*answered)(void *ctx, enum web_answer answer), void *ctx,
                          struct web_claim **out)
{
    (void)c, (void)policy, (void)wk;
    assert_true(span_eq(name, SPAN_LIT(FORM)));
    claim = (struct web_claim){ .answered = answered, .ctx = ctx };
    *out = books_lets_be == WEB_WAIT ? &claim : NULL;
    return books_lets_be;
}

void web_claim_forget(struct web_claim *it)
{
    it->ctx = NULL;
}

void books_claim(enum web_answer answer)
{
    world_at(0);
    if (claim.ctx != NULL)
        claim.answered(claim.ctx, answer);
}

void books_freeze(const char *account, uint8_t mode)
{
    struct frozen_view *v = frozen_view_new();
    struct frozen_entry e = { .scope = COMMAND_SCOPE_ACCOUNT,
                              .mode = mode,
                              .id = 1,
                              .name = span_str(account),
                              .reason = SPAN_LIT("looks stolen"),
                              .who = SPAN_LIT("ops") };
    assert_int_equal(frozen_view_add(v, &e), 0);
    frozen_view_seal(v, 1);
    frozen_view_rele(worker.frozen);
    worker.frozen = v;
}

/* ---- a client ------------------------------------------------------------------------------------------ */

static void answered(struct session *s, enum ledger_answer answer)
{
    struct client *x = LIST_ITEM(s, struct client, s);
    s->rcpt_waits = false;
    x->answers++;
    x->last = answer;
}

void client_mail(struct client *x, struct auth_identity *who)
{
    *x = (struct client){ .s = { .in = &ingress, .l = &listener, .config = config, .identity = who } };
    world_at(0);
    assert_int_equal(charge_init(&x->c, &x->s), 0);
    x->c.on_answer = answered;
}

void client_over(struct client *x)
{
    world_at(0);
    charge_fini(&x->c);
}

enum ledger_answer client_rcpt(struct client *x, const char *ahead)
{
    world_at(0);
    unsigned before = x->answers;
    enum ledger_answer answer = charge_rcpt(&x->c, x->rcpts, span_str(ahead), &x->reply);
    if (answer == LEDGER_WAIT) {
        x->s.rcpt_waits = true;
        world_settle();
        world_at(0);
        if (x->answers == before)
            return LEDGER_WAIT;
        answer = x->last == LEDGER_YES || !charge_rcpt_refusal(&x->c, &x->reply) ? LEDGER_YES : LEDGER_NO;
    }
    x->rcpts += answer == LEDGER_YES;
    return answer;
}

void client_rcpts(struct client *x, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(client_rcpt(x, ""), LEDGER_YES);
}

bool client_named(struct client *x, const char *name)
{
    world_at(0);
    return charge_named(&x->c, span_str(name), x->rcpts, &x->reply);
}

bool client_web_named(struct client *x)
{
    world_at(0);
    assert_non_null(charge_web_host(&x->c));
    return charge_web(&x->c, "form.php", x->rcpts, &x->reply);
}

enum ledger_answer client_dot(struct client *x)
{
    for (;;) {
        unsigned before = x->answers;
        world_at(0);
        enum ledger_answer answer = charge_settled(&x->c, &x->reply);
        if (answer == LEDGER_YES)
            answer = charge_ready(&x->c, &x->reply);
        if (answer == LEDGER_YES)
            charge_spend(&x->c);
        if (answer == LEDGER_WAIT)
            world_settle();
        if (answer != LEDGER_WAIT || x->answers == before)
            return answer;
    }
}

void client_said(const struct client *x, uint16_t code, const char *enhanced, const char *words)
{
    assert_int_equal(x->reply.reply.code, code);
    assert_string_equal(x->reply.reply.enhanced, enhanced);
    if (strstr(x->reply.reply.text, words) == NULL)
        fail_msg("\"%s\" has no \"%s\"", x->reply.reply.text, words);
}

/* ---- the books ----------------------------------------------------------------------------------------- */

struct books {
    const char *limit;
    uint64_t used, held, burned;
};

static int usage_cb(void *arg, const struct machine_usage *u)
{
    struct books *b = arg;
    if (strcmp(u->limit, b->limit) == 0)
        *b = (struct books){ b->limit, u->used, u->held, u->burned };
    return 0;
}

/* So many recipients were charged to him, and no node has a token of his. `account` "": to the tenant. */
static void assert_charged(const char *limit, const char *account, const char *tenant, uint8_t class,
                           uint64_t n)
{
    struct books b = { .limit = limit };
    machine_usage_each(books_world.lead, span_str(account), span_str(tenant), class, usage_cb, &b);
    if (b.used != n || b.held != 0 || b.burned != 0)
        fail_msg("%s%s: %d used, %d held, %d burned; not %d", account, tenant, (int)b.used, (int)b.held,
                 (int)b.burned, (int)n);
}

void books_close(uint64_t relays, uint64_t annas, uint64_t forms, uint64_t news)
{
    struct ledger_worker_stats st;
    world_advance(90000, 100);
    assert_charged("machines", RELAY, "hosting", 1, relays);
    assert_charged("hour", ANNA, "org", 0, annas);
    assert_charged("hour", FORM, "", 0, forms);
    assert_charged("machines", NEW, "hosting", 1, news);
    assert_charged("tenants", "", "hosting", 0,
                   relays + news); /* web senders are charged to it by way of their host */
    assert_charged("tenants", "", "org", 0, annas);
    ledger_worker_stats(worker.ledger, &st);
    assert_int_equal(st.spent, relays + annas + forms + news);
    assert_int_equal(st.in_hand, 0);
    assert_int_equal(st.waiting, 0);
}

void books_begin(const char *over_limit, const char *more)
{
    char text[1024];
    struct buf why;
    buf_init(&why, 4096);
    snprintf(
        text, sizeof text,
        "limits:\n  - {name: hour, for: account, classes: person, count: %d, window: 1h, over_limit: %s}\n"
        "  - {name: machines, for: account, classes: device, count: 1000, window: 1h}\n"
        "  - {name: tenants, for: tenant, count: 1000, window: 1h}\n%s",
        LIMIT, over_limit, more);
    assert_int_equal(policy_parse("p", span_str(text), &the_cluster.policy, &why), 0);
    buf_fini(&why);
    const struct policy_compiled *p = &the_cluster.policy->compiled;
    world_begin(&books_world, 1, p->limits, p->nlimits, true);
    config = fixture_config("");
    listener.config = &config->listeners[0];
    worker.ledger = books_world.nodes[0].workers[0];
    books_lets_be = WEB_YES;
    books_notices = 0;
    mail.from.text = SPAN_LIT(ANNA);
}

int books_end(void **state)
{
    (void)state;
    frozen_view_rele(worker.frozen);
    worker.frozen = NULL;
    policy_rele(the_cluster.policy);
    world_end(&books_world);
    config_rele(config);
    return 0;
}
