/* Clients. A transaction as a node handles it: MAIL is refused when the worker's view says frozen or the
 * session is not valid, RCPT reserves, the end of the data spends.
 */
#define SIM_STREAM SIM_STREAM_LOAD
#include "test/sim/mail.h"

#define TXNS 32

enum txn_state { FREE, RCPT, WAITING, DATA, EXCHANGE };
struct txn {
    struct ledger_hold h;
    enum txn_state state;
    uint32_t server, worker, account, left;
    uint8_t class;
    int64_t until_ns;
    bool answered;
    enum ledger_answer answer;
};

static struct txn txns[TXNS], probes[SIM_SERVERS_MAX];
static bool probed[SIM_SERVERS_MAX];

static void end(struct txn *t)
{
    server_at(t->server)->stirred = true;
    ledger_hold_fini(&t->h);
    t->state = FREE;
}

static void admit(struct txn *t)
{
    check_spend(&sim.servers[t->server], t->account, t->class, t->h.reserved);
    if (t->account == SIM_PROBE)
        probed[t->server] = true;
    uint32_t n = t->h.reserved;
    ledger_spend(&t->h);
    mail_hand_over(&sim.servers[t->server], t->account, n);
}

/* What was exchanged is spent in the turn that brought the answer. */
static void answer_cb(struct ledger_hold *h, enum ledger_answer answer)
{
    struct txn *t = h->ctx;
    sim_step(SIM_STEP_CLIENT, t->server, 768 + (uint32_t)answer);
    t->answered = true;
    t->answer = answer;
    if (t->state == EXCHANGE && answer == LEDGER_YES)
        admit(t);
}

static void begin(struct txn *t, uint32_t server, uint32_t account, uint32_t recipients)
{
    struct sim_server *s = server_at(server);
    uint32_t k = (uint32_t)sim_random(SIM_WORKERS);
    struct sim_worker *w = &s->workers[k];
    if (!server_up(s) || w->stalled_until_ns > sim.now_ns)
        return;
    sim_step(SIM_STEP_CLIENT, server, account);
    if (((w->view.frozen >> account) & 1) != 0 || !ledger_session_valid(w->w) || !mail_open(s)) {
        check_sums.refused++;
        return;
    }
    check_mail(s, account);
    *t = (struct txn){ .state = RCPT,
                       .server = server,
                       .worker = k,
                       .account = account,
                       .left = recipients,
                       .class = senders_class(account) };
    struct ledger_sender sender = { span_str(sim_accounts[account]), span_str(sim_tenants[account]), t->class };
    ensure(ledger_hold_init(&t->h, w->w, &sender, answer_cb, t) == 0);
    s->stirred = true;
}

static void rcpt(struct txn *t)
{
    if (t->left == 0) {
        t->state = DATA;
        /* Most messages are short; some are slower than the life of a token. */
        t->until_ns = sim.now_ns + sim_ms(sim_random(8) == 0 && t->account != SIM_FULL ? 6000 : 200);
        return;
    }
    uint32_t n = 1 + (uint32_t)sim_random(t->left);
    enum ledger_answer answer = ledger_reserve(&t->h, n);
    sim_step(SIM_STEP_CLIENT, t->server, 256 + (uint32_t)answer);
    if (answer == LEDGER_NO) {
        check_sums.refused++;
        end(t);
        return;
    }
    t->left -= n;
    t->answered = false;
    if (answer == LEDGER_WAIT)
        t->state = WAITING;
}

static void data(struct txn *t)
{
    if (sim.now_ns < t->until_ns)
        return;
    if (t->account < SIM_ACCOUNTS && sim_random(6) == 0) { /* RSET */
        end(t);
        return;
    }
    enum ledger_answer answer = ledger_ready(&t->h);
    sim_step(SIM_STEP_CLIENT, t->server, 512 + (uint32_t)answer);
    t->answered = false;
    if (answer == LEDGER_WAIT) {
        t->state = EXCHANGE;
        return;
    }
    if (answer == LEDGER_YES)
        admit(t);
    end(t);
}

static void step(struct txn *t)
{
    struct sim_server *s = server_at(t->server);
    if (t->state == FREE || !server_up(s) || s->workers[t->worker].stalled_until_ns > sim.now_ns)
        return;
    s->stirred = true;
    switch (t->state) {
    case RCPT:
        rcpt(t);
        break;
    case DATA:
        data(t);
        break;
    case WAITING:
        if (t->answered && t->answer == LEDGER_NO)
            end(t);
        else if (t->answered)
            t->state = RCPT;
        break;
    case EXCHANGE:
        if (t->answered)
            end(t);
        break;
    default:
        break;
    }
}

void load_step(void)
{
    for (int i = 0; i < TXNS; i++)
        if (txns[i].state != FREE)
            step(&txns[i]);
        else if (!sim.quiet && sim_random(8) == 0)
            begin(&txns[i], (uint32_t)sim_random(sim.n), (uint32_t)sim_random(SIM_ACCOUNTS),
                  1 + (uint32_t)sim_random(5));
}

/* Clients did not stop when the server did: what they sent is read now. */
void load_step_of(uint32_t server)
{
    for (int i = 0; i < TXNS; i++) {
        if (txns[i].state == FREE && !sim.quiet && sim_random(8) == 0)
            begin(&txns[i], server, (uint32_t)sim_random(SIM_ACCOUNTS), 1 + (uint32_t)sim_random(5));
        for (int k = 0; k < 4 && txns[i].server == server; k++)
            step(&txns[i]);
    }
}

bool load_probe(void)
{
    bool all = true;
    for (uint32_t i = 0; i < sim.n; i++) {
        if (sim.servers[i].removed || probed[i])
            continue;
        all = false;
        if (probes[i].state == FREE)
            begin(&probes[i], i, SIM_PROBE, 1);
        else
            step(&probes[i]);
    }
    return all;
}

void load_full(void)
{
    for (int i = 0; i < TXNS; i++) {
        uint32_t server = (uint32_t)i % sim.n;
        if (txns[i].state != FREE)
            step(&txns[i]);
        else if (!sim.servers[server].removed)
            begin(&txns[i], server, SIM_FULL, 1 + (uint32_t)sim_random(3));
    }
}

void load_drop(uint32_t server)
{
    for (int i = 0; i < TXNS; i++)
        if (txns[i].state != FREE && txns[i].server == server)
            end(&txns[i]);
    if (probes[server].state != FREE)
        end(&probes[server]);
}

void load_begin(void)
{
    memset(txns, 0, sizeof txns);
    memset(probes, 0, sizeof probes);
    memset(probed, 0, sizeof probed);
}
