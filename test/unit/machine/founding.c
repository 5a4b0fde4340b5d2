/* The first commands of a cluster. */
#include "test/unit/machine/founding.h"

#include "base/ensure.h"

static struct machine_result must(founding_apply_fn *apply, struct command *cmd)
{
    struct machine_result r = apply(cmd);
    ensure(r.err == 0);
    return r;
}

void founding_members(uint32_t n, founding_apply_fn *apply)
{
    ensure(n >= 1 && n <= 9);
    struct command init = { .type = COMMAND_CLUSTER_INIT,
                            .cluster_init = { .cluster = { 1 },
                                              .epoch = 1,
                                              .ca_certificate = SPAN_LIT("ca"),
                                              .ca_key = SPAN_LIT("key"),
                                              .name = SPAN_LIT("n1"),
                                              .raft_address = SPAN_LIT("127.0.0.1:1"),
                                              .gossip_address = SPAN_LIT("127.0.0.1:2"),
                                              .version = SPAN_LIT("1"),
                                              .features = 1 } };
    must(apply, &init);
    for (uint32_t id = 2; id <= n; id++) {
        char digit = (char)('0' + id);
        char token_id[] = { 't', digit }, name[] = { 'n', digit };
        char raft[] = "127.0.0.1:1", gossip[] = "127.0.0.1:2";
        raft[8] = gossip[8] = digit;
        struct command token = { .type = COMMAND_TOKEN_ADD,
                                 .token_add = { .by = { .who = SPAN_LIT("founder") },
                                                .id = span_of(token_id, 2),
                                                .for_ms = 1000000 } };
        must(apply, &token);
        struct command join = { .type = COMMAND_MEMBER_JOIN,
                                .member_join = { .token = span_of(token_id, 2),
                                                 .name = span_of(name, 2),
                                                 .raft_address = span_str(raft),
                                                 .gossip_address = span_str(gossip),
                                                 .version = SPAN_LIT("1"),
                                                 .features = 1 } };
        ensure(must(apply, &join).id == id);
    }
}

void founding_raise(uint32_t n, uint32_t level, founding_apply_fn *apply)
{
    for (uint32_t id = 1; id <= n; id++) {
        struct command report = {
            .type = COMMAND_MEMBER_REPORT,
            .member_report = { .node = id, .version = SPAN_LIT("1"), .features = level }
        };
        must(apply, &report);
    }
    struct command raise = { .type = COMMAND_FEATURE_RAISE,
                             .feature_raise = { .by = { .who = SPAN_LIT("founder") }, .level = level } };
    must(apply, &raise);
}

void founding_policy(const struct policy_compiled *p, uint8_t upload, founding_apply_fn *apply)
{
    struct buf b;
    buf_init(&b, 1u << 16);
    buf_put_str(&b, "x: y");
    size_t text = b.len;
    ensure(policy_encode(p, &b) == 0);
    struct command chunk = { .type = COMMAND_POLICY_CHUNK,
                             .policy_chunk = { .upload = { upload }, .bytes = buf_span(&b) } };
    struct command commit = { .type = COMMAND_POLICY_COMMIT,
                              .policy_commit = { .by = { .who = SPAN_LIT("founder") },
                                                 .upload = { upload },
                                                 .chunks = 1,
                                                 .text_bytes = text,
                                                 .compiled_bytes = b.len - text } };
    must(apply, &chunk);
    must(apply, &commit);
    buf_fini(&b);
}
