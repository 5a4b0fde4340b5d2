/* What texts are taken for alike, and what is not. */
#include "base/err.h"
#include "consensus/facts.h"
#include "node/mail/likeness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "From: a@example.com\r\nSubject: %s\r\n%s\r\n"
#define PLAIN "Content-Type: text/plain; charset=utf-8\r\n"

static bool sign(const char *text, size_t step, struct facts_signature *out)
{
    struct likeness l;
    likeness_init(&l);
    for (size_t at = 0, n = strlen(text); at < n; at += step)
        likeness_feed(&l, span_of(text + at, n - at < step ? n - at : step));
    return likeness_end(&l, out->value);
}

static unsigned same(const char *a, const char *b)
{
    struct facts_signature x, y;
    unsigned n = 0;
    assert_true(sign(a, 1000, &x));
    assert_true(sign(b, 7, &y));
    for (unsigned i = 0; i < FACTS_SIGNATURE; i++)
        n += x.value[i] == y.value[i];
    assert_int_equal(facts_alike(&x, &y), n >= FACTS_ALIKE);
    return n;
}

static const char offer[] =
    "Subject: Invoice %d is overdue\r\n" PLAIN "\r\n"
    "Dear %s,\r\n\r\nour records show that your invoice number %d of %d.%02d EUR has not been paid. To "
    "avoid\r\n"
    "further costs please review the attached statement and settle the open amount today at\r\n"
    "https://pay%d.example/%s?c=%d\r\n\r\nIf you have paid in the meantime please ignore this %s.\r\n\r\n"
    "Kind regards\r\nAccounting department\r\n";

static const char offer_html[] =
    "Subject: Invoice 7 is overdue\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative;\r\n "
    "boundary=\"x=y\"\r\n\r\n"
    "--x=y\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    "<html><body><p style=3D\"color: red\">Dear <b>Mrs Jones</b>,</p><p>our records show that your invoice "
    "num=\r\n"
    "ber 815 of 99.00 EUR has not been paid. To avoid further costs please review the attached statement and "
    "s=\r\n"
    "ettle the open amount today at <a href=3D\"https://evil.example/x\">https://pay.example/123</a></p>\r\n"
    "<p>If you have paid in the meantime please ignore this letter.</p><p>Kind regards<br>Accounting "
    "department</p>\r\n"
    "</body></html>\r\n--x=y--\r\n";

static void variations_of_one_text(void **state)
{
    (void)state;
    static const char *const names[] = { "Mr Smith", "Ms Anna Maria Lopez", "customer" };
    static const char *const last[] = { "message", "letter", "mail" };
    char text[3][2048];
    for (int i = 0; i < 3; i++)
        snprintf(text[i], sizeof text[i], offer, 4711 * i + 3, names[i], 99 * i, 100 + i, 17 * i, i, last[i],
                 12345 * i, last[i]);
    assert_true(same(text[0], text[0]) == FACTS_SIGNATURE);
    assert_true(same(text[0], text[1]) >= 13);
    assert_true(same(text[1], text[2]) >= 13);
    assert_true(same(text[0], offer_html) >= FACTS_ALIKE); /* the same as HTML, in quoted-printable */
}

static void words_in_between(void **state)
{
    (void)state;
    static const char a[] =
        "Subject: You have won\r\n" PLAIN "\r\n"
        "Congratulations, your address was drawn in our great spring lottery and you are the lucky\r\n"
        "winner of two million dollars. Please send us your bank details so that we can transfer the\r\n"
        "prize without delay. This offer ends soon, answer now to claim what is yours.\r\n";
    static const char b[] =
        "Subject: You have won something\r\n" PLAIN "\r\n"
        "Congratulations my friend, your address was drawn in our great summer lottery and you are a "
        "lucky\r\n"
        "winner of three million euros. Please send us your bank details so that we may transfer the\r\n"
        "prize without any delay. This offer ends soon, answer today to claim what is yours.\r\n";
    assert_true(same(a, b) >= FACTS_ALIKE);
}

static void base64_is_read(void **state)
{
    (void)state;
    static const char plain[] = "Subject: Hi\r\n" PLAIN "\r\n"
                                "please review the attached statement and settle the open amount today\r\n";
    static const char coded[] =
        "Subject: Hi\r\n" PLAIN "Content-Transfer-Encoding: base64\r\n\r\n"
        "cGxlYXNlIHJldmlldyB0aGUgYXR0YWNoZWQgc3RhdGVtZW50IGFuZCBzZXR0bGUgdGhlIG9wZW4g\r\n"
        "YW1vdW50IHRvZGF5DQo=\r\n";
    assert_int_equal(same(plain, coded), FACTS_SIGNATURE);
}

/* A day of one person: answers with the other's text quoted below and always the same signature. */
static void ordinary_mail(void **state)
{
    (void)state;
    static const char *const mails[] = {
        "Subject: Re: Meeting on Thursday\r\n" PLAIN
        "\r\nHi Tom,\r\nThursday at ten is fine with me, I will bring the "
        "drawings and the new price list.\r\n\r\nOn Monday Tom wrote:\r\n> Can we meet on "
        "Thursday?\r\n\r\n-- \r\n"
        "Anna Berg\r\nBerg Architects, Main Street 5, Springfield\r\nPhone 555 1234\r\nwww.berg.example\r\n",
        "Subject: Offer for the windows\r\n" PLAIN
        "\r\nDear Mr Miller,\r\nthank you for your offer. Could you tell us "
        "how long delivery of the larger windows takes, and whether the glass is included?\r\n\r\n-- \r\n"
        "Anna Berg\r\nBerg Architects, Main Street 5, Springfield\r\nPhone 555 1234\r\nwww.berg.example\r\n",
        "Subject: Lunch\r\n" PLAIN
        "\r\nShall we go to the Italian place? I have time from half past twelve.\r\n\r\n-- \r\n"
        "Anna Berg\r\nBerg Architects, Main Street 5, Springfield\r\nPhone 555 1234\r\nwww.berg.example\r\n",
        "Subject: Re: Lunch\r\n" PLAIN
        "\r\nGood, see you there!\r\n\r\n> Shall we go to the Italian place? I have time "
        "from half past twelve.\r\n\r\n-- \r\nAnna Berg\r\nBerg Architects, Main Street 5, Springfield\r\n",
        "Subject: Site visit, minutes\r\n" PLAIN
        "\r\nHello all,\r\nattached are the minutes of the visit to the site. The "
        "roof is behind schedule because of the rain, the electrician starts next week, and we still wait "
        "for the "
        "permission of the fire brigade. Please send corrections until Friday.\r\n\r\n-- \r\nAnna Berg\r\n",
    };
    for (size_t i = 0; i < sizeof mails / sizeof mails[0]; i++)
        for (size_t k = 0; k < i; k++)
            assert_true(same(mails[i], mails[k]) < FACTS_ALIKE);
}

static void what_has_no_text(void **state)
{
    (void)state;
    struct facts_signature s;
    assert_false(sign("", 1, &s));
    assert_false(sign("Subject: \r\n\r\n", 1, &s));
    assert_false(
        sign("Subject: scan\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
             "cGxlYXNlIHJldmlldyB0aGUgYXR0YWNoZWQgc3RhdGVtZW50IGFuZCBzZXR0bGUgdGhlIG9wZW4g\r\n",
             3, &s));
}

/* Each word that greets hides the name behind it. */
static void names_behind_greetings(void **state)
{
    (void)state;
    static const char *const greetings[] = { "Dear",  "Hello",  "hi",      "Hey",      "HALLO",
                                             "Liebe", "Lieber", "Geehrte", "geehrter", "Bonjour",
                                             "Cher",  "Hola",   "Ciao",    "Estimado" };
    char a[512], b[512];
    for (size_t i = 0; i < sizeof greetings / sizeof greetings[0]; i++) {
        static const char text[] = "Subject: Hi\r\n" PLAIN "\r\n%s %s,\r\nplease settle the amount\r\n";
        snprintf(a, sizeof a, text, greetings[i], "Anna Maria Berg");
        snprintf(b, sizeof b, text, greetings[i], "Otto Smith");
        assert_int_equal(same(a, b), FACTS_SIGNATURE);
    }
}

/* The first words count: each costs time. */
static void what_comes_late_does_not_matter(void **state)
{
    (void)state;
    char a[8192], b[8192];
    size_t n = (size_t)snprintf(a, sizeof a, "Subject: long\r\n" PLAIN "\r\n");
    for (unsigned i = 0; i < LIKENESS_WORDS; i++)
        n += (size_t)snprintf(a + n, sizeof a - n, "w%c%c ", 'a' + i % 26, 'a' + i / 26 % 26);
    memcpy(b, a, n);
    snprintf(a + n, sizeof a - n, "one thing and another thing that nobody has ever said before\r\n");
    snprintf(b + n, sizeof b - n, "an end of quite another kind, with words of its own\r\n");
    assert_int_equal(same(a, b), FACTS_SIGNATURE);
}

/* However long lines are and wherever pieces end. */
static void in_any_pieces(void **state)
{
    (void)state;
    static char text[9000];
    struct facts_signature a, b;
    size_t n = (size_t)snprintf(text, sizeof text, "Subject: long\r\n" PLAIN "\r\n");
    for (unsigned i = 0; n < sizeof text - 20; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "w%c%c%c ", 'a' + i % 26, 'a' + i / 26 % 26,
                              'a' + i / 7 % 26);
    assert_true(sign(text, sizeof text, &a));
    for (size_t step = 1; step < 2000; step = step * 3 + 1) {
        assert_true(sign(text, step, &b));
        assert_memory_equal(&a, &b, sizeof a);
    }
}

/* Nodes compare what each of them has made, whatever build and processor it has. */
static void the_same_everywhere(void **state)
{
    (void)state;
    static const char seen[] =
        "Subject: Re: Rechnung 4711\r\n" PLAIN "\r\n"
        "Liebe Frau M\303\274ller, it's at http://pay.example/x?c=1 or and/or a@b.example: 12 boxes\r\n"
        "> quoted words do not count\r\nplease review the attached statement -- today!\r\n"
        "-- \r\nnor do these\r\n";
    static const struct {
        const char *text;
        struct facts_signature is;
    } made[] = { { offer_html,
                   { { 0x7dc9, 0x71e2, 0x8b88, 0x7fb5, 0x9add, 0x0f82, 0x4086, 0xc3fb, 0x09a7, 0x80c0, 0x1732, 0x8acc,
                       0xb85a, 0x8b77, 0x8ba6, 0x16be } } }, { seen,
                   { { 0x4343, 0xdc78, 0x240e, 0x7fb5, 0x43c2, 0xba77, 0x0773, 0x6b36, 0x7586, 0x0d6e, 0x0568, 0x6976,
                       0x2a20, 0xad9a, 0xacca, 0x6e87 } } } };
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++)
        for (size_t step = 1; step < 4096; step *= 4) {
            struct facts_signature got;
            assert_true(sign(made[i].text, step, &got));
            assert_memory_equal(&got, &made[i].is, sizeof got);
        }
}

static void sketches_count(void **state)
{
    (void)state;
    struct facts_sketch a = { 0 }, b = { 0 };
    char text[32];
    assert_int_equal(facts_sketch_count(&a), 0);
    for (uint32_t i = 0; i < 20000; i++) {
        int n = snprintf(text, sizeof text, "user%u@example.com", i);
        uint64_t h = facts_hash(span_of(text, (size_t)n));
        facts_sketch_add(i % 2 == 0 ? &a : &b, h);
        facts_sketch_add(&a, facts_hash(SPAN_LIT("again")));
        if (i + 1 == 10 || i + 1 == 100 || i + 1 == 1000 || i + 1 == 20000) {
            struct facts_sketch both = a;
            facts_sketch_merge(&both, &b);
            uint32_t count = facts_sketch_count(&both), most = i + 2;
            assert_in_range(count, most - most * 35 / 100, most + most * 35 / 100);
        }
    }
}

static void facts_are_read_as_written(void **state)
{
    (void)state;
    struct sender_facts in = { .counts = { .account = SPAN_LIT("anna") }, .class = 2, .ngroups = 1 }, out;
    struct buf b;
    buf_init(&b, 10000);
    assert_int_equal(sender_facts_put(&b, &in), 0);
    assert_int_equal(b.len, 0); /* of nothing: nothing */
    in.counts.count[RECORD_MESSAGES] = 3;
    facts_sketch_add(&in.sketch[FACTS_DOMAINS], 77);
    in.group[0] = (struct facts_group){ .like = { { 1, 2, 3 } }, .messages = 3, .recipients = 4 };
    assert_int_equal(sender_facts_put(&b, &in), 0);
    assert_true(b.len <= SENDER_FACTS_BYTES_MAX);
    struct cursor c;
    cursor_init(&c, b.data, b.len);
    assert_int_equal(sender_facts_next(&c, &out), 1);
    assert_int_equal(out.counts.count[RECORD_MESSAGES], 3);
    assert_memory_equal(out.sketch, in.sketch, sizeof in.sketch);
    assert_memory_equal(&out.group[0], &in.group[0], sizeof in.group[0]);
    assert_int_equal(sender_facts_next(&c, &out), 0);
    for (size_t n = 1; n < b.len; n++) { /* cut off anywhere */
        cursor_init(&c, b.data, n);
        assert_int_equal(sender_facts_next(&c, &out), ERR_CORRUPT);
    }
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variations_of_one_text),
        cmocka_unit_test(words_in_between),
        cmocka_unit_test(base64_is_read),
        cmocka_unit_test(ordinary_mail),
        cmocka_unit_test(what_has_no_text),
        cmocka_unit_test(names_behind_greetings),
        cmocka_unit_test(what_comes_late_does_not_matter),
        cmocka_unit_test(in_any_pieces),
        cmocka_unit_test(the_same_everywhere),
        cmocka_unit_test(sketches_count),
        cmocka_unit_test(facts_are_read_as_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
