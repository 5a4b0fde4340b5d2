/* What must hold of mail: what was accepted is delivered, or some node still has it; it is delivered once,
 * but for deliveries that a crash came after, before they were recorded; no two nodes have it in their
 * queues. All this is judged by what clients were told and what was delivered.
 */
#define SIM_STREAM SIM_STREAM_MAIL
#include "test/sim/mail.h"

#include <stdlib.h>

#define KNOWN_MAX 8192 /* of one run; a power of two */

struct known {
    uint64_t id; /* as people see it; 0: free */
    bool accepted, moves;
    uint32_t holder; /* server that accepted it, or had it in its queue last */
    uint32_t nrcpts;
    struct {
        uint32_t delivered, allowed; /* copies; that a crash excuses */
        uint32_t unrecorded;         /* bits: servers that delivered it and have not recorded that yet */
    } rcpts[MAIL_RCPTS_MAX];
};

static struct known known[KNOWN_MAX];
static uint32_t nknown, undelivered; /* of those accepted, recipients without a copy */

static struct known *find(uint64_t id)
{
    id = spool_id_public(id);
    uint32_t k = (uint32_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 40) % KNOWN_MAX;
    while (known[k].id != 0 && known[k].id != id)
        k = (k + 1) % KNOWN_MAX;
    return &known[k];
}

static struct known *find_known(uint64_t id)
{
    struct known *m = find(id);
    ensure(m->id != 0);
    return m;
}

void mail_check_begin(void)
{
    memset(known, 0, sizeof known);
    nknown = undelivered = 0;
}

void mail_check_handed(uint64_t id, uint32_t nrcpts)
{
    struct known *m = find(id);
    if (m->id != 0)
        check_fault("the id %llx is given twice", (unsigned long long)id);
    ensure(++nknown < KNOWN_MAX / 2);
    *m = (struct known){ .id = spool_id_public(id), .nrcpts = nrcpts };
}

void mail_check_accepted(struct sim_server *s, uint64_t id)
{
    struct known *m = find_known(id);
    m->accepted = true;
    m->moves = s->drained;
    m->holder = s->i;
    check_sums.stored++;
    for (uint32_t i = 0; i < m->nrcpts; i++)
        undelivered += m->rcpts[i].delivered == 0;
}

void mail_check_moves(uint64_t id)
{
    find_known(id)->moves = true;
}

void mail_check_moves_all(const struct sim_server *s)
{
    for (uint32_t k = 0; k < KNOWN_MAX; k++)
        if (known[k].id != 0 && known[k].holder == s->i)
            known[k].moves = true;
}

/* ---- one node at a time --------------------------------------------------------------------------------
 */

static bool item_has(const struct queue *q, const struct queue_item *item, uint32_t rcpt)
{
    struct queue_item_view v;
    queue_item_view(q, item, &v);
    for (uint32_t i = 0; i < v.nrcpts; i++)
        if (v.rcpts[i] == rcpt)
            return true;
    return false;
}

static bool has_queued(const struct sim_server *s, uint64_t id, uint32_t rcpt)
{
    struct queue *q = s->mail == NULL ? NULL : s->mail->egress.queue;
    for (uint64_t hop = 0; q != NULL && hop <= SPOOL_ID_HOPS_MAX; hop++) {
        struct queue_item *item = queue_find(q, spool_id_public(id) | hop << SPOOL_ID_HOP_SHIFT);
        for (; item != NULL; item = queue_find_next(q, item))
            if (item_has(q, item, rcpt))
                return true;
    }
    return false;
}

void mail_check_queued(struct sim_server *s, uint64_t id, uint32_t rcpt)
{
    struct known *m = find_known(id);
    for (uint32_t i = 0; i < sim.n; i++)
        if (has_queued(&sim.servers[i], id, rcpt))
            check_fault("node %u queues recipient %u of %llx, which node %u has in its queue", s->i + 1, rcpt,
                        (unsigned long long)id, i + 1);
    if (m->accepted && m->holder != s->i)
        check_sums.moved++;
    m->holder = s->i;
}

void mail_check_delivered(struct sim_server *s, uint64_t id, uint32_t rcpt)
{
    struct known *m = find_known(id);
    ensure(rcpt < m->nrcpts);
    if (m->accepted && m->rcpts[rcpt].delivered == 0)
        undelivered--;
    check_sums.delivered++;
    m->rcpts[rcpt].delivered++;
    m->rcpts[rcpt].unrecorded |= 1u << s->i;
    if (m->rcpts[rcpt].delivered > 1 + m->rcpts[rcpt].allowed)
        check_fault("node %u delivers copy %u of recipient %u of %llx, after %u crashes that excuse one",
                    s->i + 1, m->rcpts[rcpt].delivered, rcpt, (unsigned long long)id, m->rcpts[rcpt].allowed);
}

void mail_check_recorded(struct sim_server *s, uint64_t id, uint32_t rcpt)
{
    struct known *m = find_known(id);
    m->rcpts[rcpt].unrecorded &= ~(1u << s->i);
}

void mail_check_killed(const struct sim_server *s)
{
    for (uint32_t k = 0; k < KNOWN_MAX; k++)
        for (uint32_t i = 0; known[k].id != 0 && i < known[k].nrcpts; i++)
            if ((known[k].rcpts[i].unrecorded & 1u << s->i) != 0) {
                known[k].rcpts[i].unrecorded &= ~(1u << s->i);
                known[k].rcpts[i].allowed++;
            }
}

/* ---- nothing is lost -----------------------------------------------------------------------------------
 */

static bool awaited(const struct known *m)
{
    bool any = false;
    for (uint32_t i = 0; m->id != 0 && m->accepted && i < m->nrcpts; i++)
        any = any || m->rcpts[i].delivered == 0;
    return any;
}

/* Some record of it is alive there. */
static bool has_stored(struct sim_server *s, uint64_t id)
{
    return mail_open(s) && spool_find(s->mail->node.spool, id) != 0;
}

/* What nobody moves must be where it was accepted. */
void mail_check_opened(struct sim_server *s)
{
    check_sums.opened++;
    for (uint32_t k = 0; k < KNOWN_MAX; k++)
        if (awaited(&known[k]) && known[k].holder == s->i && !known[k].moves && !has_stored(s, known[k].id))
            check_fault("node %u accepted %llx and does not have it after a restart", s->i + 1,
                        (unsigned long long)known[k].id);
}

void mail_check_all(void)
{
    for (uint32_t i = 0; i < sim.n; i++)
        if (!sim.servers[i].alive || !mail_open(&sim.servers[i]))
            return;
    for (uint32_t k = 0; k < KNOWN_MAX; k++) {
        if (!awaited(&known[k]))
            continue;
        bool any = false;
        for (uint32_t i = 0; i < sim.n; i++)
            any = any || has_stored(server_at(i), known[k].id);
        if (!any)
            check_fault("%llx was accepted and not delivered, and no node has it",
                        (unsigned long long)known[k].id);
    }
}

static bool moves(struct sim_server *s)
{
    struct transfer_progress p;
    if (!mail_open(s))
        return true;
    server_at(s->i);
    transfer_progress(&s->mail->node, &p);
    return p.giving + p.taking + p.strays + p.wanted > 0;
}

static bool removed_any(void)
{
    for (uint32_t i = 0; i < sim.n; i++)
        if (sim.servers[i].removed)
            return true;
    return false;
}

/* What a removed node was about to give or take waits for an operator. */
bool mail_check_idle(void)
{
    bool any = undelivered > 0;
    for (uint32_t i = 0; i < sim.n; i++)
        any = any || moves(&sim.servers[i]);
    return !any || removed_any();
}

/* All run, and have heard each other for a while. */
static void check_alive(void)
{
    for (uint32_t i = 0; i < sim.n; i++)
        for (uint32_t k = 0; k < sim.n; k++)
            if (i != k && sim.servers[i].pulses[k].health != GOSSIP_ALIVE)
                check_fault("node %u does not take node %u for alive", i + 1, k + 1);
}

/* Where a message stands on each node, for who looks for the reason of a fault. */
static void say_where(const struct known *m, char out[200])
{
    size_t n = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < sim.n; i++) {
        struct sim_server *s = server_at(i);
        struct spool_info *info;
        uint64_t id = mail_open(s) ? spool_find(s->mail->node.spool, m->id) : 0;
        if (id == 0 || spool_info(s->mail->node.spool, id, &info) != 0)
            continue;
        for (uint32_t k = 0; k < info->env.nrcpts && n < 150; k++)
            n += (size_t)snprintf(out + n, 200 - n, " %u:%s%s", i + 1, rcpt_state_name(info->rcpts[k].state),
                                  has_queued(s, m->id, k) ? "+" : "");
        spool_info_free(info);
    }
}

void mail_check_end(void)
{
    char where[200];
    mail_check_all();
    check_alive();
    if (mail_check_idle())
        return;
    for (uint32_t k = 0; k < KNOWN_MAX; k++)
        if (awaited(&known[k])) {
            say_where(&known[k], where);
            check_fault("%llx is not delivered long after all was well; node %u had it last;%s",
                        (unsigned long long)known[k].id, known[k].holder + 1, where);
        }
    for (uint32_t i = 0; i < sim.n; i++)
        if (moves(&sim.servers[i]))
            check_fault("node %u has mail on its way long after all was well", i + 1);
}

/* ---- who is alive ----------------------------------------------------------------------------------------
 */

void mail_check_pulse(const struct sim_server *s, uint32_t of)
{
    int64_t silent_ms = s->boot_ns / SIM_MS - s->heard_ns[of] / SIM_MS;
    enum gossip_health health = s->pulses[of].health;
    if ((health == GOSSIP_SUSPECT && silent_ms < 2000) || (health == GOSSIP_DEAD && silent_ms < 10000))
        check_fault("node %u takes node %u for dead, or nearly so, after %lld ms", s->i + 1, of + 1,
                    (long long)silent_ms);
}
