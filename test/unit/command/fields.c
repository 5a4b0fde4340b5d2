/* The fields of every command: see fields.h. */
#include "fields.h"

#include "base/ensure.h"

const uint8_t command_types[] = {
    COMMAND_SESSION_OPEN,  COMMAND_SESSION_RENEW, COMMAND_SESSION_EXPIRE,  COMMAND_SESSION_CLOSE,
    COMMAND_CANCEL,        COMMAND_GRANT,         COMMAND_RETURN,          COMMAND_FREEZE,
    COMMAND_LIMITS_REOPEN, COMMAND_THAW,          COMMAND_ACCOUNT_SET,     COMMAND_ACCOUNT_REMOVE,
    COMMAND_TENANT_SET,    COMMAND_TENANT_REMOVE, COMMAND_OVERRIDE_SET,    COMMAND_POLICY_CHUNK,
    COMMAND_POLICY_COMMIT, COMMAND_POOL_SET,      COMMAND_POOL_REMOVE,     COMMAND_POOL_ASSIGN,
    COMMAND_IP_SET,        COMMAND_IP_MOVE,       COMMAND_IP_RELEASED,     COMMAND_IP_REMOVE,
    COMMAND_SEALING_KEY,   COMMAND_SEALED_SET,    COMMAND_SEALED_REMOVE,
    COMMAND_DOMAIN_ASK,    COMMAND_DOMAIN_RESULT, COMMAND_DOMAIN_FORGET,
    COMMAND_CLUSTER_INIT,  COMMAND_TOKEN_ADD,     COMMAND_MEMBER_JOIN,     COMMAND_MEMBER_SET,
    COMMAND_MEMBER_REPORT, COMMAND_CERT_ISSUED,   COMMAND_FEATURE_RAISE,   COMMAND_TOKEN_REMOVE,
    COMMAND_TRANSFER_OWN,  COMMAND_TRANSFER_END,  COMMAND_TRANSFER_CANCEL, COMMAND_SUPPRESS_ADD,
    COMMAND_SUPPRESS_REMOVE, COMMAND_WARMUP_START, COMMAND_WARMUP_STOP,    COMMAND_WARMUP_STEP,
    COMMAND_WARMUP_RESERVE, COMMAND_WARMUP_REPORT,
    COMMAND_RECORD_REPORT, COMMAND_RECORD_FORGET, COMMAND_POOL_FLOATING, COMMAND_IP_MOVE_DEAD,
    COMMAND_IP_FLOAT, COMMAND_IP_HOOK,
    COMMAND_STANDING_SET,  COMMAND_STANDING_FORGET, COMMAND_SENDER_LOOK,
    COMMAND_GRANT_STREAM, COMMAND_SENDER_LIFT, COMMAND_SENDER_NOTICE,
    COMMAND_TENANT_CONTACT, COMMAND_NOTICE_CLAIM, COMMAND_TENANT_TOKEN_ADD, COMMAND_TENANT_TOKEN_REMOVE,
    COMMAND_ERASE_ADD, COMMAND_ERASE_DONE,
    COMMAND_HELD_EXEMPT,
    COMMAND_OPERATOR_SET,  COMMAND_OPERATOR_REMOVE, COMMAND_LOGIN_SET,     COMMAND_LOGIN_END,
    COMMAND_ALERT_DONE,
    COMMAND_WEB_CLAIM, COMMAND_WEB_FORGET,
};
const size_t ncommand_types = sizeof command_types;

static void add(struct fields *f, struct field field)
{
    ensure(f->n < FIELDS_MAX);
    f->at[f->n++] = field;
}

#define NUMBER(x) add(f, (struct field){ FIELD_NUMBER, &(x), sizeof(x), 0, 0 })
#define CHOICE(x, lo, hi) add(f, (struct field){ FIELD_CHOICE, &(x), sizeof(x), lo, hi })
#define BOOL(x) add(f, (struct field){ FIELD_BOOL, &(x), 1, 0, 0 })
#define SPAN(x, lo, hi) add(f, (struct field){ FIELD_SPAN, &(x), hi, lo, 0 })
#define NAME(x) SPAN(x, 1, 320)
#define MAYBE(x) SPAN(x, 0, 320)
#define TEXT(x) SPAN(x, 0, 1024)
#define RAW(x) add(f, (struct field){ FIELD_RAW, (x), sizeof(x), 0, 0 })

static void by(struct command_by *b, struct fields *f)
{
    TEXT(b->who);
    NUMBER(b->wall_ms);
    NUMBER(b->version);
}

static void session_fields(struct command *c, struct fields *f)
{
    switch (c->type) {
    case COMMAND_ALERT_DONE:
        NAME(c->alert_done.target);
        NUMBER(c->alert_done.upto);
        SPAN(c->alert_done.seqs, 0, 512);
        BOOL(c->alert_done.forget);
        break;
    case COMMAND_SESSION_OPEN:
        NUMBER(c->session_open.node);
        RAW(c->session_open.nonce);
        NUMBER(c->session_open.replaces);
        BOOL(c->session_open.new_process);
        break;
    case COMMAND_SESSION_RENEW:
        NUMBER(c->session_renew.number);
        NUMBER(c->session_renew.published);
        break;
    case COMMAND_SESSION_EXPIRE:
        NUMBER(c->session_expire.session);
        NUMBER(c->session_expire.number);
        break;
    case COMMAND_CANCEL:
        NUMBER(c->cancel.seq);
        break;
    case COMMAND_GRANT:
    case COMMAND_GRANT_STREAM:
        NAME(c->grant.account);
        MAYBE(c->grant.tenant);
        CHOICE(c->grant.class, 0, 2);
        NUMBER(c->grant.need);
        NUMBER(c->grant.want);
        break;
    case COMMAND_RETURN:
        for (uint32_t i = 0; i < c->ret.n; i++) {
            NUMBER(c->ret.item[i].grant);
            NUMBER(c->ret.item[i].unspent);
            BOOL(c->ret.item[i].last);
        }
        break;
    case COMMAND_FREEZE:
        by(&c->freeze.by, f);
        CHOICE(c->freeze.scope, 1, 2);
        NAME(c->freeze.name);
        CHOICE(c->freeze.mode, 1, 4);
        NUMBER(c->freeze.for_ms);
        TEXT(c->freeze.reason);
        break;
    case COMMAND_LIMITS_REOPEN:
        by(&c->limits_reopen.by, f);
        break;
    case COMMAND_THAW:
        by(&c->thaw.by, f);
        CHOICE(c->thaw.scope, 1, 2);
        NAME(c->thaw.name);
        NUMBER(c->thaw.freeze);
        break;
    default:
        break;
    }
}

static void sender_fields(struct command *c, struct fields *f)
{
    switch (c->type) {
    case COMMAND_ACCOUNT_SET:
        by(&c->account_set.by, f);
        NAME(c->account_set.name);
        TEXT(c->account_set.hash);
        MAYBE(c->account_set.tenant);
        SPAN(c->account_set.senders, 0, 16384);
        CHOICE(c->account_set.class, 0, 2);
        BOOL(c->account_set.disabled);
        BOOL(c->account_set.create);
        BOOL(c->account_set.upsert);
        BOOL(c->account_set.keep_hash);
        break;
    case COMMAND_ACCOUNT_REMOVE:
    case COMMAND_TENANT_REMOVE:
    case COMMAND_POOL_REMOVE:
    case COMMAND_IP_REMOVE:
    case COMMAND_TOKEN_REMOVE:
    case COMMAND_WARMUP_STOP:
    case COMMAND_TENANT_TOKEN_REMOVE:
    case COMMAND_OPERATOR_REMOVE:
    case COMMAND_WEB_FORGET:
        by(&c->name.by, f);
        NAME(c->name.name);
        break;
    case COMMAND_TENANT_SET:
        by(&c->tenant_set.by, f);
        NAME(c->tenant_set.name);
        TEXT(c->tenant_set.note);
        break;
    case COMMAND_TENANT_CONTACT:
        by(&c->tenant_contact.by, f);
        NAME(c->tenant_contact.name);
        MAYBE(c->tenant_contact.address);
        break;
    case COMMAND_ERASE_ADD:
        by(&c->erase.by, f);
        NAME(c->erase.address);
        break;
    case COMMAND_ERASE_DONE:
        NAME(c->erase.address);
        NUMBER(c->erase.id);
        break;
    case COMMAND_TENANT_TOKEN_ADD:
        by(&c->tenant_token.by, f);
        NAME(c->tenant_token.tenant);
        SPAN(c->tenant_token.id, 1, 32);
        RAW(c->tenant_token.secret_sha256);
        TEXT(c->tenant_token.note);
        break;
    case COMMAND_NOTICE_CLAIM:
    case COMMAND_SENDER_NOTICE:
        NAME(c->notice_claim.tenant);
        NAME(c->notice_claim.about);
        NUMBER(c->notice_claim.for_ms);
        break;
    case COMMAND_WEB_CLAIM:
        NAME(c->web_claim.name);
        NUMBER(c->web_claim.most_of_host);
        NUMBER(c->web_claim.most);
        NUMBER(c->web_claim.for_ms);
        break;
    case COMMAND_OVERRIDE_SET:
        by(&c->override_set.by, f);
        CHOICE(c->override_set.scope, 1, 2);
        NAME(c->override_set.name);
        NAME(c->override_set.limit);
        BOOL(c->override_set.remove);
        NUMBER(c->override_set.count);
        break;
    case COMMAND_POLICY_CHUNK:
        RAW(c->policy_chunk.upload);
        NUMBER(c->policy_chunk.number);
        SPAN(c->policy_chunk.bytes, 0, 65536);
        break;
    case COMMAND_POLICY_COMMIT:
        by(&c->policy_commit.by, f);
        RAW(c->policy_commit.upload);
        NUMBER(c->policy_commit.chunks);
        NUMBER(c->policy_commit.text_bytes);
        NUMBER(c->policy_commit.compiled_bytes);
        TEXT(c->policy_commit.note);
        break;
    default:
        break;
    }
}

static void operator_fields(struct command *c, struct fields *f)
{
    switch (c->type) {
    case COMMAND_HELD_EXEMPT:
        by(&c->held_exempt.by, f);
        NAME(c->held_exempt.operator_name);
        NUMBER(c->held_exempt.recipients);
        TEXT(c->held_exempt.what);
        TEXT(c->held_exempt.reason);
        break;
    case COMMAND_OPERATOR_SET:
        by(&c->operator_set.by, f);
        NAME(c->operator_set.name);
        TEXT(c->operator_set.hash);
        CHOICE(c->operator_set.role, 0, 3);
        BOOL(c->operator_set.create);
        break;
    case COMMAND_LOGIN_SET:
        by(&c->login_set.by, f);
        RAW(c->login_set.id);
        NAME(c->login_set.name);
        NUMBER(c->login_set.until_ms);
        NUMBER(c->login_set.ends_ms);
        BOOL(c->login_set.open);
        break;
    case COMMAND_LOGIN_END:
        by(&c->login_end.by, f);
        RAW(c->login_end.id);
        NAME(c->login_end.name);
        BOOL(c->login_end.all);
        break;
    default:
        break;
    }
}

static void floating_fields(struct command *c, struct fields *f)
{
    switch (c->type) {
    case COMMAND_POOL_FLOATING:
        by(&c->pool_floating.by, f);
        NAME(c->pool_floating.name);
        CHOICE(c->pool_floating.mode, 1, 3);
        NUMBER(c->pool_floating.after_ms);
        NUMBER(c->pool_floating.per_node);
        BOOL(c->pool_floating.back);
        TEXT(c->pool_floating.nodes);
        break;
    case COMMAND_IP_FLOAT:
        NAME(c->ip_float.address);
        NUMBER(c->ip_float.lost);
        NUMBER(c->ip_float.node);
        break;
    case COMMAND_IP_HOOK:
        NAME(c->ip_hook.address);
        NUMBER(c->ip_hook.claim);
        CHOICE(c->ip_hook.state, 1, 3);
        SPAN(c->ip_hook.words, 0, 200);
        break;
    default:
        break;
    }
}

static void pool_fields(struct command *c, struct fields *f)
{
    switch (c->type) {
    case COMMAND_POOL_SET:
        by(&c->pool_set.by, f);
        NAME(c->pool_set.name);
        TEXT(c->pool_set.note);
        break;
    case COMMAND_POOL_ASSIGN:
        by(&c->pool_assign.by, f);
        CHOICE(c->pool_assign.to, 1, 3);
        NAME(c->pool_assign.name);
        MAYBE(c->pool_assign.pool);
        break;
    case COMMAND_IP_SET:
        by(&c->ip_set.by, f);
        NAME(c->ip_set.address);
        MAYBE(c->ip_set.pool);
        MAYBE(c->ip_set.ehlo);
        NUMBER(c->ip_set.node);
        NUMBER(c->ip_set.weight);
        CHOICE(c->ip_set.use, 0, 3);
        BOOL(c->ip_set.create);
        break;
    case COMMAND_IP_MOVE:
    case COMMAND_IP_MOVE_DEAD:
        by(&c->ip_move.by, f);
        NAME(c->ip_move.address);
        NUMBER(c->ip_move.node);
        break;
    case COMMAND_IP_RELEASED:
        NAME(c->ip_released.address);
        NUMBER(c->ip_released.moved);
        break;
    case COMMAND_TRANSFER_OWN:
        RAW(c->transfer_own.id);
        NUMBER(c->transfer_own.giver);
        NUMBER(c->transfer_own.taker);
        NUMBER(c->transfer_own.messages);
        RAW(c->transfer_own.sha256);
        break;
    case COMMAND_TRANSFER_END:
    case COMMAND_TRANSFER_CANCEL:
        RAW(c->transfer_end.id);
        break;
    case COMMAND_SUPPRESS_ADD:
        by(&c->suppress_add.by, f);
        MAYBE(c->suppress_add.tenant);
        NAME(c->suppress_add.address);
        CHOICE(c->suppress_add.class, 0, 31);
        BOOL(c->suppress_add.bounced);
        NUMBER(c->suppress_add.for_ms);
        NUMBER(c->suppress_add.most);
        SPAN(c->suppress_add.reason, 0, 160);
        break;
    case COMMAND_SUPPRESS_REMOVE:
        by(&c->suppress_remove.by, f);
        MAYBE(c->suppress_remove.tenant);
        NAME(c->suppress_remove.address);
        NUMBER(c->suppress_remove.entry);
        break;
    case COMMAND_RECORD_REPORT:
        RAW(c->record_report.process);
        NUMBER(c->record_report.number);
        SPAN(c->record_report.counts, 0, 16384);
        break;
    case COMMAND_SENDER_LOOK:
        RAW(c->sender_look.process);
        NUMBER(c->sender_look.number);
        NUMBER(c->sender_look.wall_ms);
        SPAN(c->sender_look.facts, 0, 16384);
        break;
    case COMMAND_STANDING_SET:
        by(&c->standing_set.by, f);
        NAME(c->standing_set.account);
        CHOICE(c->standing_set.tier, 0, 2);
        BOOL(c->standing_set.keep);
        BOOL(c->standing_set.pinned);
        BOOL(c->standing_set.judged);
        SPAN(c->standing_set.reason, 0, 160);
        break;
    case COMMAND_STANDING_FORGET:
    case COMMAND_RECORD_FORGET:
        NAME(c->record_forget.account);
        NUMBER(c->record_forget.entry);
        break;
    default:
        break;
    }
}

static void warmup_fields(struct command *c, struct fields *f)
{
    switch (c->type) {
    case COMMAND_SENDER_LIFT:
        by(&c->sender_lift.by, f);
        NAME(c->sender_lift.account);
        SPAN(c->sender_lift.rule, 0, 63);
        NUMBER(c->sender_lift.entry);
        break;
    case COMMAND_WARMUP_START:
        by(&c->warmup_start.by, f);
        NAME(c->warmup_start.address);
        NUMBER(c->warmup_start.first);
        NUMBER(c->warmup_start.growth_pct);
        NUMBER(c->warmup_start.days);
        NUMBER(c->warmup_start.fill_pct);
        NUMBER(c->warmup_start.deferral_permille);
        NUMBER(c->warmup_start.complaint_permille);
        BOOL(c->warmup_start.step_back);
        NUMBER(c->warmup_start.sites);
        break;
    case COMMAND_WARMUP_STEP:
        by(&c->warmup_step.by, f);
        NAME(c->warmup_step.address);
        SPAN(c->warmup_step.site, 1, 255);
        NUMBER(c->warmup_step.step);
        break;
    case COMMAND_WARMUP_RESERVE:
        NAME(c->warmup_reserve.address);
        SPAN(c->warmup_reserve.site, 1, 255);
        NUMBER(c->warmup_reserve.want);
        break;
    case COMMAND_WARMUP_REPORT:
        NAME(c->warmup_report.address);
        SPAN(c->warmup_report.site, 1, 255);
        NUMBER(c->warmup_report.plan);
        NUMBER(c->warmup_report.until_ms);
        NUMBER(c->warmup_report.unspent);
        NUMBER(c->warmup_report.delivered);
        NUMBER(c->warmup_report.deferred);
        NUMBER(c->warmup_report.refused);
        NUMBER(c->warmup_report.complaints);
        break;
    default:
        break;
    }
}

static void sealed_fields(struct command *c, struct fields *f)
{
    switch (c->type) {
    case COMMAND_SEALING_KEY:
        by(&c->sealing_key.by, f);
        NUMBER(c->sealing_key.number);
        RAW(c->sealing_key.id);
        BOOL(c->sealing_key.lost);
        break;
    case COMMAND_SEALED_SET:
        by(&c->sealed_set.by, f);
        CHOICE(c->sealed_set.kind, 1, 2);
        NAME(c->sealed_set.name);
        NAME(c->sealed_set.selector);
        BOOL(c->sealed_set.create);
        NUMBER(c->sealed_set.number);
        SPAN(c->sealed_set.sealed, 0, 8192);
        SPAN(c->sealed_set.public, 0, 2048);
        NUMBER(c->sealed_set.not_before_ms);
        NUMBER(c->sealed_set.not_after_ms);
        BOOL(c->sealed_set.subdomains);
        SPAN(c->sealed_set.tenants, 0, 1024);
        break;
    case COMMAND_SEALED_REMOVE:
        by(&c->sealed_remove.by, f);
        CHOICE(c->sealed_remove.kind, 1, 2);
        NAME(c->sealed_remove.name);
        NAME(c->sealed_remove.selector);
        break;
    case COMMAND_DOMAIN_ASK:
        by(&c->domain_ask.by, f);
        SPAN(c->domain_ask.tenant, 0, 320);
        NAME(c->domain_ask.domain);
        BOOL(c->domain_ask.vouched);
        break;
    case COMMAND_DOMAIN_RESULT:
        by(&c->domain_result.by, f);
        SPAN(c->domain_result.tenant, 0, 320);
        NAME(c->domain_result.domain);
        CHOICE(c->domain_result.outcome, 1, 3);
        NUMBER(c->domain_result.until_ms);
        SPAN(c->domain_result.words, 0, 160);
        break;
    case COMMAND_DOMAIN_FORGET:
        by(&c->domain_forget.by, f);
        SPAN(c->domain_forget.tenant, 0, 320);
        NAME(c->domain_forget.domain);
        break;
    default:
        break;
    }
}

static void member_fields(struct command *c, struct fields *f)
{
    switch (c->type) {
    case COMMAND_CLUSTER_INIT:
        RAW(c->cluster_init.cluster);
        NUMBER(c->cluster_init.epoch);
        SPAN(c->cluster_init.ca_certificate, 0, 16384);
        SPAN(c->cluster_init.ca_key, 0, 16384);
        NAME(c->cluster_init.name);
        NAME(c->cluster_init.raft_address);
        NAME(c->cluster_init.gossip_address);
        SPAN(c->cluster_init.certificate_sha256, 0, 32);
        MAYBE(c->cluster_init.version);
        NUMBER(c->cluster_init.features);
        break;
    case COMMAND_TOKEN_ADD:
        by(&c->token_add.by, f);
        NAME(c->token_add.id);
        RAW(c->token_add.secret_sha256);
        NUMBER(c->token_add.for_ms);
        MAYBE(c->token_add.node_name);
        break;
    case COMMAND_MEMBER_JOIN:
        NAME(c->member_join.token);
        RAW(c->member_join.request_sha256);
        NAME(c->member_join.name);
        NAME(c->member_join.raft_address);
        NAME(c->member_join.gossip_address);
        MAYBE(c->member_join.version);
        NUMBER(c->member_join.features);
        break;
    case COMMAND_MEMBER_SET:
        by(&c->member_set.by, f);
        NUMBER(c->member_set.node);
        CHOICE(c->member_set.state, 0, 4);
        CHOICE(c->member_set.role, 0, 2);
        MAYBE(c->member_set.raft_address);
        MAYBE(c->member_set.gossip_address);
        break;
    case COMMAND_MEMBER_REPORT:
        NUMBER(c->member_report.node);
        MAYBE(c->member_report.version);
        NUMBER(c->member_report.features);
        break;
    case COMMAND_CERT_ISSUED:
        NUMBER(c->cert_issued.node);
        RAW(c->cert_issued.sha256);
        NUMBER(c->cert_issued.not_after_ms);
        break;
    case COMMAND_FEATURE_RAISE:
        by(&c->feature_raise.by, f);
        NUMBER(c->feature_raise.level);
        break;
    default:
        break;
    }
}

void fields_of(struct command *c, struct fields *f)
{
    f->n = 0;
    NUMBER(c->origin.session);
    NUMBER(c->origin.seq);
    NUMBER(c->origin.lowest);
    session_fields(c, f);
    sender_fields(c, f);
    operator_fields(c, f);
    pool_fields(c, f);
    sealed_fields(c, f);
    floating_fields(c, f);
    member_fields(c, f);
    warmup_fields(c, f);
}
