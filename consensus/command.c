/* The commands' encoding: one table of fields for both directions, so that whatever is written can be read
 * and nothing else can. docs/cluster-format.md has the layout. Pure; any thread.
 */
#include "consensus/command.h"

#include "base/ensure.h"
#include "base/err.h"
#include "consensus/record.h"
#include "consensus/sender_rule.h"

#include <stddef.h>

enum kind { KIND_END, KIND_U8, KIND_U32, KIND_U64, KIND_BOOL, KIND_SPAN, KIND_RAW, KIND_RETURN };

struct field {
    uint8_t kind;
    uint8_t min; /* U8 and SPAN: a smaller value, or a shorter text, is an error */
    uint16_t offset;
    uint32_t max; /* U8, U32: the largest value; SPAN: bytes; RAW: exactly so many bytes */
};

/* clang-format off */
#define AT(field) offsetof(struct command, field)
#define U8(f, lo, hi) { KIND_U8, lo, AT(f), hi }
#define U32(f) { KIND_U32, 0, AT(f), UINT32_MAX }
#define U64(f) { KIND_U64, 0, AT(f), 0 }
#define BOOL(f) { KIND_BOOL, 0, AT(f), 1 }
#define RAW(f) { KIND_RAW, 0, AT(f), sizeof((struct command *)NULL)->f }
#define SPAN(f, lo, hi) { KIND_SPAN, lo, AT(f), hi }
#define NAME(f) SPAN(f, 1, COMMAND_NAME_MAX)
#define NAME_OR_NONE(f) SPAN(f, 0, COMMAND_NAME_MAX)
#define TEXT(f) SPAN(f, 0, COMMAND_TEXT_MAX)
#define BY(c) TEXT(c.by.who), U64(c.by.wall_ms), U64(c.by.version)
#define SITE(f) SPAN(f, 1, COMMAND_WARMUP_SITE_MAX)
#define CLASS(f) U8(f, 0, COMMAND_CLASSES - 1)
#define SCOPE(f) U8(f, COMMAND_SCOPE_ACCOUNT, COMMAND_SCOPE_TENANT)
#define SEALED_KIND(f) U8(f, COMMAND_SEALED_DKIM, COMMAND_SEALED_SECRET)
#define END { KIND_END, 0, 0, 0 }
#define FIELDS(...) (const struct field[]){ __VA_ARGS__, END }
/* clang-format on */

static const struct field origin_fields[] = { U64(origin.session), U64(origin.seq), U64(origin.lowest), END };

#define NAMED FIELDS(BY(name), NAME(name.name))
#define CLAIM FIELDS(NAME(notice_claim.tenant), NAME(notice_claim.about), U64(notice_claim.for_ms))
#define GRANTED FIELDS(NAME(grant.account), NAME_OR_NONE(grant.tenant), CLASS(grant.class), U32(grant.need), U32(grant.want))
#define TRANSFER_ID FIELDS(RAW(transfer_end.id))

static const struct {
    const char *name;
    const struct field *fields;
} types[] = {
    [COMMAND_SESSION_OPEN] = { "session-open",
                               FIELDS(U64(session_open.node), RAW(session_open.nonce),
                                      U64(session_open.replaces), BOOL(session_open.new_process)) },
    [COMMAND_SESSION_RENEW] = { "session-renew",
                                FIELDS(U64(session_renew.number), U64(session_renew.published)) },
    [COMMAND_SESSION_EXPIRE] = { "session-expire",
                                 FIELDS(U64(session_expire.session), U64(session_expire.number)) },
    [COMMAND_SESSION_CLOSE] = { "session-close", (const struct field[]){ END } },
    [COMMAND_CANCEL] = { "cancel", FIELDS(U64(cancel.seq)) },
    [COMMAND_GRANT] = { "grant", GRANTED },
    [COMMAND_RETURN] = { "return", FIELDS({ KIND_RETURN, 0, AT(ret), COMMAND_RETURN_MAX }) },
    [COMMAND_LIMITS_REOPEN] = { "limits-reopen", FIELDS(BY(limits_reopen)) },
    [COMMAND_FREEZE] = { "freeze", FIELDS(BY(freeze), SCOPE(freeze.scope), NAME(freeze.name),
                                          U8(freeze.mode, COMMAND_FREEZE_REJECT, COMMAND_FREEZE_AUTO),
                                          U64(freeze.for_ms), TEXT(freeze.reason)) },
    [COMMAND_THAW] = { "thaw", FIELDS(BY(thaw), SCOPE(thaw.scope), NAME(thaw.name), U64(thaw.freeze)) },
    [COMMAND_ACCOUNT_SET] = { "account-set", FIELDS(BY(account_set), NAME(account_set.name),
                                                    TEXT(account_set.hash), NAME_OR_NONE(account_set.tenant),
                                                    SPAN(account_set.senders, 0, COMMAND_SENDERS_MAX),
                                                    CLASS(account_set.class), BOOL(account_set.disabled),
                                                    BOOL(account_set.create), BOOL(account_set.upsert),
                                                    BOOL(account_set.keep_hash)) },
    [COMMAND_ACCOUNT_REMOVE] = { "account-remove", NAMED },
    [COMMAND_TENANT_SET] = { "tenant-set",
                             FIELDS(BY(tenant_set), NAME(tenant_set.name), TEXT(tenant_set.note)) },
    [COMMAND_TENANT_REMOVE] = { "tenant-remove", NAMED },
    [COMMAND_OVERRIDE_SET] = { "override-set", FIELDS(BY(override_set), SCOPE(override_set.scope),
                                                      NAME(override_set.name), NAME(override_set.limit),
                                                      BOOL(override_set.remove), U64(override_set.count)) },
    [COMMAND_POLICY_CHUNK] = { "policy-chunk", FIELDS(RAW(policy_chunk.upload), U32(policy_chunk.number),
                                                      SPAN(policy_chunk.bytes, 0, COMMAND_CHUNK_MAX)) },
    [COMMAND_POLICY_COMMIT] = { "policy-commit",
                                FIELDS(BY(policy_commit), RAW(policy_commit.upload),
                                       U32(policy_commit.chunks), U64(policy_commit.text_bytes),
                                       U64(policy_commit.compiled_bytes), TEXT(policy_commit.note)) },
    [COMMAND_POOL_SET] = { "pool-set", FIELDS(BY(pool_set), NAME(pool_set.name), TEXT(pool_set.note)) },
    [COMMAND_POOL_REMOVE] = { "pool-remove", NAMED },
    [COMMAND_POOL_ASSIGN] = { "pool-assign",
                              FIELDS(BY(pool_assign),
                                     U8(pool_assign.to, COMMAND_ASSIGN_CLASS, COMMAND_ASSIGN_ACCOUNT),
                                     NAME(pool_assign.name), NAME_OR_NONE(pool_assign.pool)) },
    [COMMAND_IP_SET] = { "ip-set", FIELDS(BY(ip_set), NAME(ip_set.address), NAME_OR_NONE(ip_set.pool),
                                          NAME_OR_NONE(ip_set.ehlo), U64(ip_set.node), U32(ip_set.weight),
                                          U8(ip_set.use, 0, COMMAND_USE_DISABLED), BOOL(ip_set.create)) },
    [COMMAND_IP_MOVE] = { "ip-move", FIELDS(BY(ip_move), NAME(ip_move.address), U64(ip_move.node)) },
    [COMMAND_IP_RELEASED] = { "ip-released", FIELDS(NAME(ip_released.address), U64(ip_released.moved)) },
    [COMMAND_IP_REMOVE] = { "ip-remove", NAMED },
    [COMMAND_CLUSTER_INIT] = { "cluster-init",
                               FIELDS(RAW(cluster_init.cluster), U32(cluster_init.epoch),
                                      SPAN(cluster_init.ca_certificate, 0, COMMAND_PEM_MAX),
                                      SPAN(cluster_init.ca_key, 0, COMMAND_PEM_MAX), NAME(cluster_init.name),
                                      NAME(cluster_init.raft_address), NAME(cluster_init.gossip_address),
                                      SPAN(cluster_init.certificate_sha256, 0, 32),
                                      NAME_OR_NONE(cluster_init.version), U32(cluster_init.features)) },
    [COMMAND_TOKEN_ADD] = { "token-add",
                            FIELDS(BY(token_add), NAME(token_add.id), RAW(token_add.secret_sha256),
                                   U64(token_add.for_ms), NAME_OR_NONE(token_add.node_name)) },
    [COMMAND_MEMBER_JOIN] = { "member-join",
                              FIELDS(NAME(member_join.token), RAW(member_join.request_sha256),
                                     NAME(member_join.name), NAME(member_join.raft_address),
                                     NAME(member_join.gossip_address), NAME_OR_NONE(member_join.version),
                                     U32(member_join.features)) },
    [COMMAND_MEMBER_SET] = { "member-set", FIELDS(BY(member_set), U64(member_set.node),
                                                  U8(member_set.state, 0, COMMAND_MEMBER_REMOVED),
                                                  U8(member_set.role, 0, COMMAND_ROLE_VOTER),
                                                  NAME_OR_NONE(member_set.raft_address),
                                                  NAME_OR_NONE(member_set.gossip_address)) },
    [COMMAND_MEMBER_REPORT] = { "member-report",
                                FIELDS(U64(member_report.node), NAME_OR_NONE(member_report.version),
                                       U32(member_report.features)) },
    [COMMAND_CERT_ISSUED] = { "cert-issued", FIELDS(U64(cert_issued.node), RAW(cert_issued.sha256),
                                                    U64(cert_issued.not_after_ms)) },
    [COMMAND_FEATURE_RAISE] = { "feature-raise", FIELDS(BY(feature_raise), U32(feature_raise.level)) },
    [COMMAND_TOKEN_REMOVE] = { "token-remove", NAMED },
    [COMMAND_TRANSFER_OWN] = { "transfer-own",
                               FIELDS(RAW(transfer_own.id), U64(transfer_own.giver), U64(transfer_own.taker),
                                      U32(transfer_own.messages), RAW(transfer_own.sha256)) },
    [COMMAND_TRANSFER_END] = { "transfer-end", TRANSFER_ID },
    [COMMAND_TRANSFER_CANCEL] = { "transfer-cancel", TRANSFER_ID },
    [COMMAND_SEALING_KEY] = { "sealing-key", FIELDS(BY(sealing_key), U64(sealing_key.number),
                                                    RAW(sealing_key.id), BOOL(sealing_key.lost)) },
    [COMMAND_SEALED_SET] = { "sealed-set",
                             FIELDS(BY(sealed_set), SEALED_KIND(sealed_set.kind), NAME(sealed_set.name),
                                    NAME(sealed_set.selector), BOOL(sealed_set.create),
                                    U64(sealed_set.number), SPAN(sealed_set.sealed, 0, COMMAND_SEALED_MAX),
                                    SPAN(sealed_set.public, 0, COMMAND_SEALED_PUBLIC_MAX),
                                    U64(sealed_set.not_before_ms), U64(sealed_set.not_after_ms),
                                    BOOL(sealed_set.subdomains), TEXT(sealed_set.tenants)) },
    [COMMAND_SEALED_REMOVE] = { "sealed-remove",
                                FIELDS(BY(sealed_remove), SEALED_KIND(sealed_remove.kind),
                                       NAME(sealed_remove.name), NAME(sealed_remove.selector)) },
    [COMMAND_DOMAIN_ASK] = { "domain-ask",
                             FIELDS(BY(domain_ask), NAME_OR_NONE(domain_ask.tenant), NAME(domain_ask.domain),
                                    BOOL(domain_ask.vouched)) },
    [COMMAND_DOMAIN_RESULT] = { "domain-result",
                                FIELDS(BY(domain_result), NAME_OR_NONE(domain_result.tenant),
                                       NAME(domain_result.domain),
                                       U8(domain_result.outcome, COMMAND_DOMAIN_GOOD, COMMAND_DOMAIN_LOST),
                                       U64(domain_result.until_ms),
                                       SPAN(domain_result.words, 0, COMMAND_DOMAIN_WORDS_MAX)) },
    [COMMAND_DOMAIN_FORGET] = { "domain-forget",
                                FIELDS(BY(domain_forget), NAME_OR_NONE(domain_forget.tenant),
                                       NAME(domain_forget.domain)) },
    [COMMAND_SUPPRESS_ADD] = { "suppress-add",
                               FIELDS(BY(suppress_add), NAME_OR_NONE(suppress_add.tenant),
                                      NAME(suppress_add.address),
                                      U8(suppress_add.class, 0, COMMAND_SUPPRESS_CLASS_MAX),
                                      BOOL(suppress_add.bounced), U64(suppress_add.for_ms),
                                      U32(suppress_add.most),
                                      SPAN(suppress_add.reason, 0, COMMAND_SUPPRESS_REASON_MAX)) },
    [COMMAND_SUPPRESS_REMOVE] = { "suppress-remove",
                                  FIELDS(BY(suppress_remove), NAME_OR_NONE(suppress_remove.tenant),
                                         NAME(suppress_remove.address), U64(suppress_remove.entry)) },
    [COMMAND_POOL_FLOATING] = { "pool-floating",
                                FIELDS(BY(pool_floating), NAME(pool_floating.name),
                                       U8(pool_floating.mode, COMMAND_FLOATING_NEVER,
                                          COMMAND_FLOATING_AUTOMATIC),
                                       U64(pool_floating.after_ms), U32(pool_floating.per_node),
                                       BOOL(pool_floating.back), TEXT(pool_floating.nodes)) },
    [COMMAND_IP_MOVE_DEAD] = { "ip-move-dead",
                               FIELDS(BY(ip_move), NAME(ip_move.address), U64(ip_move.node)) },
    [COMMAND_IP_FLOAT] = { "ip-float",
                           FIELDS(NAME(ip_float.address), U64(ip_float.lost), U64(ip_float.node)) },
    [COMMAND_IP_HOOK] = { "ip-hook", FIELDS(NAME(ip_hook.address), U64(ip_hook.claim),
                                            U8(ip_hook.state, COMMAND_HOOK_ADDING, COMMAND_HOOK_FAILED),
                                            SPAN(ip_hook.words, 0, COMMAND_HOOK_WORDS_MAX)) },
    [COMMAND_WARMUP_START] = { "warmup-start",
                               FIELDS(BY(warmup_start), NAME(warmup_start.address), U32(warmup_start.first),
                                      U32(warmup_start.growth_pct), U32(warmup_start.days),
                                      U32(warmup_start.fill_pct), U32(warmup_start.deferral_permille),
                                      U32(warmup_start.complaint_permille), BOOL(warmup_start.step_back),
                                      U32(warmup_start.sites)) },
    [COMMAND_WARMUP_STOP] = { "warmup-stop", NAMED },
    [COMMAND_WARMUP_STEP] = { "warmup-step", FIELDS(BY(warmup_step), NAME(warmup_step.address),
                                                    SITE(warmup_step.site), U32(warmup_step.step)) },
    [COMMAND_WARMUP_RESERVE] = { "warmup-reserve",
                                 FIELDS(NAME(warmup_reserve.address), SITE(warmup_reserve.site),
                                        U32(warmup_reserve.want)) },
    [COMMAND_WARMUP_REPORT] = { "warmup-report",
                                FIELDS(NAME(warmup_report.address), SITE(warmup_report.site),
                                       U64(warmup_report.plan), U64(warmup_report.until_ms),
                                       U32(warmup_report.unspent), U32(warmup_report.delivered),
                                       U32(warmup_report.deferred), U32(warmup_report.refused),
                                       U32(warmup_report.complaints)) },
    [COMMAND_RECORD_REPORT] = { "record-report",
                                FIELDS(RAW(record_report.process), U64(record_report.number),
                                       SPAN(record_report.counts, 0, RECORD_COUNTS_BYTES_MAX)) },
    [COMMAND_RECORD_FORGET] = { "record-forget",
                                FIELDS(NAME(record_forget.account), U64(record_forget.entry)) },
    [COMMAND_STANDING_SET] = { "standing-set",
                               FIELDS(BY(standing_set), NAME(standing_set.account),
                                      U8(standing_set.tier, 0, COMMAND_TIER_POOR), BOOL(standing_set.keep),
                                      BOOL(standing_set.pinned), BOOL(standing_set.judged),
                                      SPAN(standing_set.reason, 0, COMMAND_STANDING_REASON_MAX)) },
    [COMMAND_STANDING_FORGET] = { "standing-forget",
                                  FIELDS(NAME(record_forget.account), U64(record_forget.entry)) },
    [COMMAND_SENDER_LOOK] = { "sender-look",
                              FIELDS(RAW(sender_look.process), U64(sender_look.number), U64(sender_look.wall_ms),
                                     SPAN(sender_look.facts, 0, RECORD_COUNTS_BYTES_MAX)) },
    [COMMAND_TENANT_CONTACT] = { "tenant-contact",
                                 FIELDS(BY(tenant_contact), NAME(tenant_contact.name),
                                        NAME_OR_NONE(tenant_contact.address)) },
    [COMMAND_NOTICE_CLAIM] = { "notice-claim",
                               CLAIM },
    [COMMAND_TENANT_TOKEN_ADD] = { "tenant-token-add",
                                   FIELDS(BY(tenant_token), NAME(tenant_token.tenant),
                                          SPAN(tenant_token.id, 1, COMMAND_TENANT_TOKEN_ID_MAX),
                                          RAW(tenant_token.secret_sha256), TEXT(tenant_token.note)) },
    [COMMAND_TENANT_TOKEN_REMOVE] = { "tenant-token-remove", NAMED },
    [COMMAND_ERASE_ADD] = { "erase-add", FIELDS(BY(erase), NAME(erase.address)) },
    [COMMAND_ERASE_DONE] = { "erase-done", FIELDS(NAME(erase.address), U64(erase.id)) },
    [COMMAND_HELD_EXEMPT] = { "held-exempt", FIELDS(BY(held_exempt), NAME(held_exempt.operator_name),
                                                    U32(held_exempt.recipients), TEXT(held_exempt.what),
                                                    TEXT(held_exempt.reason)) },
    [COMMAND_OPERATOR_SET] = { "operator-set",
                               FIELDS(BY(operator_set), NAME(operator_set.name), TEXT(operator_set.hash),
                                      U8(operator_set.role, 0, COMMAND_ROLE_ADMIN), BOOL(operator_set.create)) },
    [COMMAND_OPERATOR_REMOVE] = { "operator-remove", NAMED },
    [COMMAND_LOGIN_SET] = { "login-set", FIELDS(BY(login_set), RAW(login_set.id), NAME(login_set.name),
                                                U64(login_set.until_ms), U64(login_set.ends_ms),
                                                BOOL(login_set.open)) },
    [COMMAND_LOGIN_END] = { "login-end", FIELDS(BY(login_end), RAW(login_end.id), NAME(login_end.name),
                                                BOOL(login_end.all)) },
    [COMMAND_GRANT_STREAM] = { "grant-stream", GRANTED },
    [COMMAND_SENDER_NOTICE] = { "sender-notice", CLAIM },
    [COMMAND_SENDER_LIFT] = { "sender-lift", FIELDS(BY(sender_lift), NAME(sender_lift.account),
                                                    SPAN(sender_lift.rule, 0, SENDER_RULE_NAME - 1),
                                                    U64(sender_lift.entry)) },
    [COMMAND_ALERT_DONE] = { "alert-done",
                             FIELDS(NAME(alert_done.target), U64(alert_done.upto),
                                    SPAN(alert_done.seqs, 0, 8 * COMMAND_ALERTS_DONE_MAX),
                                    BOOL(alert_done.forget)) },
    [COMMAND_WEB_CLAIM] = { "web-claim", FIELDS(NAME(web_claim.name), U32(web_claim.most_of_host),
                                                U32(web_claim.most), U64(web_claim.for_ms)) },
    [COMMAND_WEB_FORGET] = { "web-forget", NAMED },
};

static const struct field *fields_of(uint8_t type)
{
    return type < sizeof types / sizeof types[0] ? types[type].fields : NULL;
}

const char *command_type_name(uint8_t type)
{
    return fields_of(type) == NULL ? "unknown" : types[type].name;
}

/* Numbers of level 5 stand between and behind those of level 4. */
static bool is_level_5(uint8_t type)
{
    return type == 88 || type == 89 || (type >= 93 && type <= 99) || (type >= 105 && type <= 119) ||
           (type > COMMAND_STANDING_FORGET && type <= COMMAND_NOTICE_CLAIM);
}

uint8_t command_type_level(uint8_t type)
{
    return type >= COMMAND_WEB_CLAIM ? 7
           : type > COMMAND_NOTICE_CLAIM ? 6
           : is_level_5(type) ? 5
           : type > COMMAND_SUPPRESS_REMOVE ? 4
           : type >= COMMAND_SUPPRESS_ADD ? 3
                                          : COMMAND_FEATURES_NEEDED;
}

/* ---- writing ------------------------------------------------------------------------------------------- */

static int put_return(struct buf *out, const struct command_return *ret)
{
    if (ret->n > COMMAND_RETURN_MAX)
        return ERR_LIMIT;
    (void)buf_put_u32(out, ret->n);
    for (uint32_t i = 0; i < ret->n; i++) {
        (void)buf_put_u64(out, ret->item[i].grant);
        (void)buf_put_u32(out, ret->item[i].unspent);
        (void)buf_put_u8(out, ret->item[i].last ? 1 : 0);
    }
    return 0;
}

static int put_field(struct buf *out, const struct field *f, const void *p)
{
    switch ((enum kind)f->kind) {
    case KIND_U8: {
        uint8_t v = *(const uint8_t *)p;
        if (v < f->min || v > f->max)
            return ERR_LIMIT;
        (void)buf_put_u8(out, v);
        return 0;
    }
    case KIND_U32:
        (void)buf_put_u32(out, *(const uint32_t *)p);
        return 0;
    case KIND_U64:
        (void)buf_put_u64(out, *(const uint64_t *)p);
        return 0;
    case KIND_BOOL:
        (void)buf_put_u8(out, *(const bool *)p ? 1 : 0);
        return 0;
    case KIND_SPAN: {
        const struct span *s = p;
        if (s->n < f->min || s->n > f->max)
            return ERR_LIMIT;
        (void)buf_put_counted(out, *s);
        return 0;
    }
    case KIND_RAW:
        (void)buf_put(out, p, f->max);
        return 0;
    case KIND_RETURN:
        return put_return(out, p);
    case KIND_END:
        break;
    }
    ensure_failed("a field of no kind", __FILE__, __LINE__);
    return 0;
}

static int put_fields(struct buf *out, const struct field *f, const struct command *cmd)
{
    for (; f->kind != KIND_END; f++) {
        int err = put_field(out, f, (const char *)cmd + f->offset);
        if (err != 0)
            return err;
    }
    return buf_err(out);
}

int command_encode(const struct command *cmd, struct buf *out)
{
    const struct field *fields = fields_of(cmd->type);
    if (fields == NULL)
        return ERR_LIMIT;
    if (buf_err(out) != 0)
        return buf_err(out);
    size_t start = out->len;
    (void)buf_put_u8(out, cmd->type);
    (void)buf_put_u32(out, 0);
    size_t body = out->len;
    int err = put_fields(out, origin_fields, cmd);
    if (err == 0)
        err = put_fields(out, fields, cmd);
    if (err == 0 && out->len - start > COMMAND_BYTES_MAX)
        err = ERR_LIMIT;
    if (err != 0) {
        /* What was appended so far must not be taken for a command. */
        out->len = start < out->len ? start : out->len;
        return err;
    }
    size_t n = out->len - body;
    for (size_t i = 0; i < 4; i++)
        out->data[body - 4 + i] = (char)(uint8_t)(n >> (8 * i));
    return 0;
}

/* ---- reading ------------------------------------------------------------------------------------------- */

static bool get_bool(struct cursor *c, bool *out)
{
    uint8_t v = cursor_u8(c);
    *out = v == 1;
    return v <= 1;
}

static bool get_return(struct cursor *c, struct command_return *ret)
{
    uint32_t n = cursor_u32(c);
    if (n > COMMAND_RETURN_MAX)
        return false;
    ret->n = n;
    for (uint32_t i = 0; i < n; i++) {
        ret->item[i].grant = cursor_u64(c);
        ret->item[i].unspent = cursor_u32(c);
        if (!get_bool(c, &ret->item[i].last))
            return false;
    }
    return true;
}

static bool get_field(struct cursor *c, const struct field *f, void *p)
{
    switch ((enum kind)f->kind) {
    case KIND_U8: {
        uint8_t v = cursor_u8(c);
        *(uint8_t *)p = v;
        return v >= f->min && v <= f->max;
    }
    case KIND_U32:
        *(uint32_t *)p = cursor_u32(c);
        return true;
    case KIND_U64:
        *(uint64_t *)p = cursor_u64(c);
        return true;
    case KIND_BOOL:
        return get_bool(c, p);
    case KIND_SPAN: {
        struct span s = cursor_counted(c);
        *(struct span *)p = s;
        return s.n >= f->min && s.n <= f->max;
    }
    case KIND_RAW: {
        struct span s = cursor_bytes(c, f->max);
        if (s.n == f->max)
            memcpy(p, s.p, s.n);
        return true;
    }
    case KIND_RETURN:
        return get_return(c, p);
    case KIND_END:
        break;
    }
    ensure_failed("a field of no kind", __FILE__, __LINE__);
    return false;
}

static bool get_fields(struct cursor *c, const struct field *f, struct command *out)
{
    for (; f->kind != KIND_END; f++)
        if (!get_field(c, f, (char *)out + f->offset))
            return false;
    return cursor_err(c) == 0;
}

int command_decode(struct cursor *c, struct command *out)
{
    *out = (struct command){ .type = cursor_u8(c) };
    uint32_t n = cursor_u32(c);
    if (cursor_err(c))
        return ERR_TORN;
    if (n > COMMAND_BYTES_MAX - 5)
        return ERR_CORRUPT;
    struct span body = cursor_bytes(c, n);
    if (cursor_err(c))
        return ERR_TORN;
    const struct field *fields = fields_of(out->type);
    if (fields == NULL)
        return ERR_NOT_FOUND;
    struct cursor in;
    cursor_init(&in, body.p, body.n);
    if (!get_fields(&in, origin_fields, out) || !get_fields(&in, fields, out) || cursor_left(&in) != 0)
        return ERR_CORRUPT;
    return 0;
}

/* ---- entries ------------------------------------------------------------------------------------------- */

#define ENTRY_FORMAT 1
#define ENTRY_HEADER 16
#define ENTRY_ALIGN 8

int command_entry_begin(struct buf *out, uint64_t now_ms)
{
    ensure(out->len == 0);
    (void)buf_put_u8(out, ENTRY_FORMAT);
    (void)buf_put_u8(out, COMMAND_FEATURES_NEEDED);
    (void)buf_put_u16(out, 0);
    (void)buf_put_u32(out, 0);
    return buf_put_u64(out, now_ms);
}

/* The highest level that any of these needs. */
static uint8_t level_of(struct span commands)
{
    struct cursor c;
    uint8_t level = COMMAND_FEATURES_NEEDED;
    cursor_init(&c, commands.p, commands.n);
    while (cursor_left(&c) > 0 && !cursor_err(&c)) {
        uint8_t needs = command_type_level(cursor_u8(&c));
        (void)cursor_bytes(&c, cursor_u32(&c));
        level = needs > level ? needs : level;
    }
    return level;
}

int command_entry_end(struct buf *out, uint32_t n)
{
    if (buf_err(out) != 0)
        return buf_err(out);
    ensure(out->len >= ENTRY_HEADER);
    if (n > COMMAND_ENTRY_MAX || out->len > COMMAND_ENTRY_BYTES_MAX - ENTRY_ALIGN)
        return ERR_LIMIT;
    size_t bytes = out->len - ENTRY_HEADER;
    uint8_t level = level_of(span_of(out->data + ENTRY_HEADER, bytes));
    if (level > (uint8_t)out->data[1])
        out->data[1] = (char)level;
    out->data[2] = (char)(uint8_t)n;
    out->data[3] = (char)(uint8_t)(n >> 8);
    for (size_t i = 0; i < 4; i++)
        out->data[4 + i] = (char)(uint8_t)(bytes >> (8 * i));
    static const char zeros[ENTRY_ALIGN];
    return buf_put(out, zeros, -out->len % ENTRY_ALIGN);
}

int command_entry_decode(struct cursor *c, struct command_entry *out)
{
    *out = (struct command_entry){ 0 };
    uint8_t format = cursor_u8(c);
    uint8_t features = cursor_u8(c);
    uint16_t n = cursor_u16(c);
    uint32_t bytes = cursor_u32(c);
    uint64_t now_ms = cursor_u64(c);
    if (cursor_err(c))
        return ERR_TORN;
    if (format == 0 || features == 0)
        return ERR_CORRUPT;
    if (format > ENTRY_FORMAT || features > COMMAND_FEATURES)
        return ERR_NOT_FOUND;
    if (n > COMMAND_ENTRY_MAX || bytes > COMMAND_ENTRY_BYTES_MAX - ENTRY_HEADER - ENTRY_ALIGN)
        return ERR_CORRUPT;
    struct span commands = cursor_bytes(c, bytes);
    struct span padding = cursor_bytes(c, -(size_t)bytes % ENTRY_ALIGN);
    if (cursor_err(c))
        return ERR_TORN;
    for (size_t i = 0; i < padding.n; i++)
        if (padding.p[i] != 0)
            return ERR_CORRUPT;
    if (cursor_left(c) != 0)
        return ERR_CORRUPT;
    cursor_init(c, commands.p, commands.n);
    *out = (struct command_entry){ .now_ms = now_ms, .n = n };
    return 0;
}
