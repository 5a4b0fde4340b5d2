/* Domains that tenants prove: each tenant for himself, what a look changes, and when one is lost. */
#include "consensus/directory_impl.h"
#include "world.h"

#include <stdio.h>

static struct command ask(const char *tenant, const char *domain, bool vouched)
{
    return (struct command){ .type = COMMAND_DOMAIN_ASK,
                             .domain_ask = { .by = { .who = str("root@node-a"), .wall_ms = 1000 },
                                             .tenant = str(tenant),
                                             .domain = str(domain),
                                             .vouched = vouched } };
}

static struct command result(const char *tenant, const char *domain, uint8_t outcome, int64_t wall_ms)
{
    return (struct command){ .type = COMMAND_DOMAIN_RESULT,
                             .domain_result = {
                                 .by = { .who = str("proof"), .wall_ms = wall_ms },
                                 .tenant = str(tenant),
                                 .domain = str(domain),
                                 .outcome = outcome,
                                 .until_ms = (uint64_t)wall_ms + 500,
                                 .words = str(outcome == COMMAND_DOMAIN_GOOD ? "" : "not there") } };
}

static struct command forget(const char *tenant, const char *domain)
{
    return (struct command){
        .type = COMMAND_DOMAIN_FORGET,
        .domain_forget = { .by = { .who = str("root@node-a") }, .tenant = str(tenant), .domain = str(domain) }
    };
}

static struct directory_proof proof(const struct world *w, const char *tenant, const char *domain)
{
    struct directory_proof p = { 0 };
    assert_true(directory_proof_find(w->m, str(tenant), str(domain), &p));
    return p;
}

static void asked_and_proven(void **state)
{
    (void)state;
    struct world *w = world_at_level(5);
    assert_int_equal(tell(w, result("acme", "example.org", COMMAND_DOMAIN_GOOD, 2000)), ERR_NOT_FOUND);
    assert_int_equal(tell(w, ask("acme", "example.org", false)), 0);
    struct directory_proof p = proof(w, "acme", "example.org");
    assert_true(p.state == DIRECTORY_PROOF_ASKED && p.asked_ms == 1000 && !directory_proof_good(&p));
    uint64_t version = p.version;
    assert_int_equal(tell(w, ask("acme", "example.org", false)), 0); /* again: nothing changes */
    assert_true(proof(w, "acme", "example.org").version == version);
    assert_int_equal(tell(w, result("acme", "example.org", COMMAND_DOMAIN_GOOD, 2000)), 0);
    p = proof(w, "acme", "example.org");
    assert_true(p.state == DIRECTORY_PROOF_PROVEN && p.proven_ms == 2000 && p.until_ms == 2500);
    assert_true(directory_proof_good(&p));
    /* asked once more: it stays proven */
    assert_int_equal(tell(w, ask("acme", "example.org", false)), 0);
    assert_true(proof(w, "acme", "example.org").state == DIRECTORY_PROOF_PROVEN);
    world_free(w);
}

/* (!) What one tenant has proven proves nothing for another. */
static void each_tenant_for_himself(void **state)
{
    (void)state;
    struct world *w = world_at_level(5);
    struct directory_proof p;
    assert_int_equal(tell(w, ask("acme", "example.org", false)), 0);
    assert_int_equal(tell(w, result("acme", "example.org", COMMAND_DOMAIN_GOOD, 2000)), 0);
    assert_false(directory_proof_find(w->m, str("evil"), str("example.org"), &p));
    assert_false(directory_proof_find(w->m, str(""), str("example.org"), &p));
    assert_int_equal(tell(w, ask("evil", "example.org", false)), 0);
    assert_int_equal(tell(w, ask("", "example.org", false)), 0);
    assert_true(proof(w, "evil", "example.org").state == DIRECTORY_PROOF_ASKED);
    assert_true(proof(w, "acme", "example.org").state == DIRECTORY_PROOF_PROVEN);
    assert_int_equal(tell(w, forget("evil", "example.org")), 0);
    assert_true(proof(w, "acme", "example.org").state == DIRECTORY_PROOF_PROVEN);
    assert_int_equal(tell(w, forget("evil", "example.org")), ERR_NOT_FOUND);
    world_free(w);
}

static void lost_and_found(void **state)
{
    (void)state;
    struct world *w = world_at_level(5);
    assert_int_equal(tell(w, ask("acme", "example.org", false)), 0);
    assert_int_equal(tell(w, result("acme", "example.org", COMMAND_DOMAIN_LOST, 1500)), 0);
    assert_true(proof(w, "acme", "example.org").state == DIRECTORY_PROOF_ASKED); /* it never was */
    assert_int_equal(tell(w, result("acme", "example.org", COMMAND_DOMAIN_GOOD, 2000)), 0);
    assert_int_equal(tell(w, result("acme", "example.org", COMMAND_DOMAIN_BAD, 3000)), 0);
    assert_int_equal(tell(w, result("acme", "example.org", COMMAND_DOMAIN_BAD, 4000)), 0);
    struct directory_proof p = proof(w, "acme", "example.org");
    assert_true(p.state == DIRECTORY_PROOF_PROVEN && p.fails == 2 && p.failing_ms == 3000);
    assert_true(p.checked_ms == 4000 && p.until_ms == 2500 && span_eq(p.words, str("not there")));
    /* of a look that began before the last one ended */
    struct command late = result("acme", "example.org", COMMAND_DOMAIN_LOST, 4500);
    late.domain_result.by.version = p.version - 1;
    assert_int_equal(tell(w, late), ERR_BUSY);
    assert_int_equal(tell(w, result("acme", "example.org", COMMAND_DOMAIN_LOST, 5000)), 0);
    p = proof(w, "acme", "example.org");
    assert_true(p.state == DIRECTORY_PROOF_LOST && p.fails == 3 && !directory_proof_good(&p));
    assert_int_equal(tell(w, result("acme", "example.org", COMMAND_DOMAIN_GOOD, 6000)), 0);
    p = proof(w, "acme", "example.org");
    assert_true(p.state == DIRECTORY_PROOF_PROVEN && p.fails == 0 && p.failing_ms == 0 && p.words.n == 0);
    assert_true(p.proven_ms == 6000);
    world_free(w);
}

static void vouched_for(void **state)
{
    (void)state;
    struct world *w = world_at_level(5);
    assert_int_equal(tell(w, ask("acme", "example.org", true)), 0);
    struct directory_proof p = proof(w, "acme", "example.org");
    assert_true(p.state == DIRECTORY_PROOF_VOUCHED && directory_proof_good(&p));
    assert_int_equal(tell(w, result("acme", "example.org", COMMAND_DOMAIN_LOST, 5000)), ERR_BUSY);
    assert_int_equal(tell(w, ask("acme", "example.org", false)), 0);
    assert_true(proof(w, "acme", "example.org").state == DIRECTORY_PROOF_ASKED);
    world_free(w);
}

static void wrong_ones(void **state)
{
    (void)state;
    struct world *w = world_at_level(5);
    assert_int_equal(tell(w, ask("acme", "Example.org", false)), ERR_BAD);
    assert_int_equal(tell(w, ask("acme", "a@example.org", false)), ERR_BAD);
    assert_int_equal(tell(w, ask("ac me", "example.org", false)), ERR_BAD);
    assert_int_equal(tell(w, ask("acme", "example.org", false)), 0);
    struct command c = result("acme", "example.org", COMMAND_DOMAIN_BAD, 2000);
    c.domain_result.words = str("a\nb");
    assert_int_equal(tell(w, c), ERR_BAD);
    c = forget("acme", "example.org");
    c.domain_forget.by.version = 1;
    assert_int_equal(tell(w, c), ERR_BUSY);
    world_free(w);
}

static void too_early(void **state)
{
    (void)state;
    struct world *w = world_at_level(4);
    assert_int_equal(tell(w, ask("acme", "example.org", false)), ERR_DENIED);
    assert_words(w, "cluster raise");
    assert_int_equal(tell(w, forget("acme", "example.org")), ERR_DENIED);
    assert_true(command_type_level(COMMAND_DOMAIN_ASK) == 5 &&
                command_type_level(COMMAND_DOMAIN_FORGET) == 5);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asked_and_proven), cmocka_unit_test(each_tenant_for_himself),
        cmocka_unit_test(lost_and_found),   cmocka_unit_test(vouched_for),
        cmocka_unit_test(wrong_ones),       cmocka_unit_test(too_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
