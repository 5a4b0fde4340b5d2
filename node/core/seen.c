/* Messages as facts about their senders: see seen.h. */
#include "node/core/seen.h"

#include <ctype.h>
#include <string.h>

#define ADDRESS_MAX 320
#define NETWORK_BITS_4 24
#define NETWORK_BITS_6 64

_Static_assert(FACTS_SIGNATURE == LIKENESS_VALUES, "one signature");

static void recipient(struct sender_facts *out, struct span address)
{
    char lower[ADDRESS_MAX];
    size_t n = address.n < sizeof lower ? address.n : sizeof lower;
    for (size_t i = 0; i < n; i++)
        lower[i] = (char)tolower((unsigned char)address.p[i]);
    facts_sketch_add(&out->sketch[FACTS_RECIPIENTS], facts_hash(span_of(lower, n)));
    const char *at = memrchr(lower, '@', n);
    if (at != NULL)
        facts_sketch_add(&out->sketch[FACTS_DOMAINS],
                         facts_hash(span_of(at + 1, (size_t)(lower + n - at) - 1)));
}

static void network(struct sender_facts *out, const struct ip_addr *client)
{
    char text[sizeof client->bytes + 1];
    if (client->family == 0)
        return;
    struct ip_net net = ip_net_around(client, client->family == 4 ? NETWORK_BITS_4 : NETWORK_BITS_6);
    text[0] = (char)client->family;
    memcpy(text + 1, net.addr.bytes, sizeof net.addr.bytes);
    facts_sketch_add(&out->sketch[FACTS_NETWORKS], facts_hash(span_of(text, sizeof text)));
}

void seen_count(struct sender_facts *out, const struct envelope *env)
{
    *out = (struct sender_facts){ .counts = { .account = env->account }, .class = env->class };
    out->counts.count[RECORD_MESSAGES] = 1;
    out->counts.count[RECORD_ACCEPTED] = env->nrcpts;
}

void seen_fill(struct sender_facts *out, const struct envelope *env, const struct ip_addr *client,
               struct likeness *like)
{
    seen_count(out, env);
    for (uint32_t i = 0; i < env->nrcpts; i++)
        recipient(out, env->rcpts[i].address);
    network(out, client);
    if (like != NULL && likeness_end(like, out->group[0].like.value)) {
        out->ngroups = 1;
        out->group[0].messages = 1;
        out->group[0].recipients = env->nrcpts;
    }
}
