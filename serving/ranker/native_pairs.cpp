// Pairs of a factorised MMoE or MGOE, scored in blocks that stay in the processor's first cache.
//
// The same function as serving.ranker.compiled.Pairs: rows of the user's and the item's part are added, and what is
// left of the net is applied. Weights come packed by serving.ranker.native_weights, in the order read here; every width
// that a loop runs over whole is padded by zeros to a multiple of LANES.
// Legend: R rows of a block, P width of a part, T tasks, E experts, S = T, H fusion width, O expert outputs.

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int64_t LANES = 16;
#if defined(__AVX512F__)
constexpr int WIDE = 16, TILE_ROWS = 6, TILE_VECTORS = 4;  // 24 sums, 4 weights, of 32 registers
#else
constexpr int WIDE = 8, TILE_ROWS = 4, TILE_VECTORS = 2;
#endif
constexpr int64_t BLOCK = 24;  // a multiple of TILE_ROWS

typedef float Vector __attribute__((vector_size(WIDE * sizeof(float))));
typedef int32_t Integers __attribute__((vector_size(WIDE * sizeof(int32_t))));

template <class X> X load(const float* from) {
    X x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

template <class X> void store(float* to, X x) { std::memcpy(to, &x, sizeof x); }

int64_t padded(int64_t width) { return (width + LANES - 1) / LANES * LANES; }

// Cephes' expf: relative error below 2e-7; NaN stays NaN.
Vector exponential(Vector x) {
    x = x < -87.f ? Vector{} - 87.f : x;
    x = x > 87.f ? Vector{} + 87.f : x;
    const Vector n = (x * 1.44269504088896341f + 12582912.f) - 12582912.f;
    const Vector r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Vector p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.f;
    const Integers bits = (__builtin_convertvector(n, Integers) + 127) << 23;
    Vector power;
    std::memcpy(&power, &bits, sizeof power);
    return p * power;
}

Vector sigmoid(Vector x) { return 1.f / (1.f + exponential(-x)); }

// Packed weights, read in order.
struct Reader {
    const int64_t* number;
    const float* value;
    int64_t next() { return *number++; }
    const float* take(int64_t count) {
        const float* here = value;
        value += count;
        return here;
    }
};

enum Kind { NONE, RELU, DICE };

struct Activation {
    int64_t kind, width;
    const float *mean, *scale, *alpha;
    explicit Activation(Reader& reader) : kind(reader.next()), width(reader.next()) {
        const int64_t count = kind == DICE ? width : 0;
        mean = reader.take(count), scale = reader.take(count), alpha = reader.take(count);
    }
    void operator()(float* x, int64_t first, int64_t count) const {
        if (kind == RELU) {
            for (int64_t i = 0; i < count; i += WIDE) {
                const Vector value = load<Vector>(x + i);
                store(x + i, value < 0.f ? Vector{} : value);
            }
        } else if (kind == DICE) {
            for (int64_t i = 0; i < count; i += WIDE) {
                const Vector value = load<Vector>(x + i), a = load<Vector>(alpha + first + i);
                const Vector standard = (value - load<Vector>(mean + first + i)) * load<Vector>(scale + first + i);
                store(x + i, value * (a + (1.f - a) * sigmoid(standard)));
            }
        }
    }
};

// c[R, :] (+)= a[R, K] w[K, :] for TILE_ROWS rows and VECTORS vectors.
template <int VECTORS, bool ONTO>
void tile(const float* a, int64_t lda, const float* w, int64_t ldw, const float* bias, float* c, int64_t ldc, int64_t inputs) {
    Vector sum[TILE_ROWS][VECTORS];
    for (int r = 0; r < TILE_ROWS; r++)
        for (int v = 0; v < VECTORS; v++) sum[r][v] = load<Vector>((ONTO ? c + r * ldc : bias) + v * WIDE);
    for (int64_t k = 0; k < inputs; k++) {
        Vector weight[VECTORS];
        for (int v = 0; v < VECTORS; v++) weight[v] = load<Vector>(w + k * ldw + v * WIDE);
        for (int r = 0; r < TILE_ROWS; r++)
            for (int v = 0; v < VECTORS; v++) sum[r][v] += a[r * lda + k] * weight[v];
    }
    for (int r = 0; r < TILE_ROWS; r++)
        for (int v = 0; v < VECTORS; v++) store(c + r * ldc + v * WIDE, sum[r][v]);
}

template <bool ONTO>
void product(const float* a, int64_t lda, int64_t rows, const float* w, int64_t outputs, const float* bias, float* c,
             int64_t ldc, int64_t inputs) {
    int64_t left = outputs / WIDE;
    for (int64_t first = 0; left > 0;) {
        const int64_t groups = (left + TILE_VECTORS - 1) / TILE_VECTORS, vectors = (left + groups - 1) / groups;
        for (int64_t r = 0; r < rows; r += TILE_ROWS) {
            const float *ar = a + r * lda, *wf = w + first, *bf = bias + first;
            float* cr = c + r * ldc + first;
            switch (vectors) {
                case 1: tile<1, ONTO>(ar, lda, wf, outputs, bf, cr, ldc, inputs); break;
                case 2: tile<2, ONTO>(ar, lda, wf, outputs, bf, cr, ldc, inputs); break;
                case 3: tile<3, ONTO>(ar, lda, wf, outputs, bf, cr, ldc, inputs); break;
                default: tile<4, ONTO>(ar, lda, wf, outputs, bf, cr, ldc, inputs);
            }
        }
        left -= vectors, first += vectors * WIDE;
    }
}

struct Linear {
    int64_t inputs, outputs;  // outputs: padded
    const float *weight, *bias;
    explicit Linear(Reader& reader) : inputs(reader.next()), outputs(reader.next()) {
        weight = reader.take(inputs * outputs), bias = reader.take(outputs);
    }
    void operator()(const float* a, int64_t lda, int64_t rows, float* c, int64_t ldc) const {
        product<false>(a, lda, rows, weight, outputs, bias, c, ldc, inputs);
    }
    void onto(const float* a, int64_t lda, int64_t rows, float* c, int64_t ldc) const {
        product<true>(a, lda, rows, weight, outputs, bias, c, ldc, inputs);
    }
};

using Buffer = std::vector<float>;

// Equal nets side by side: linear maps, each followed by an activation of all.
struct Layers {
    struct Layer {
        std::vector<Linear> nets;
        Activation after;
        int64_t width() const { return (int64_t)nets.size() * nets[0].outputs; }
    };
    std::vector<Layer> layers;
    std::vector<Buffer> outputs;
    Layers(Reader& reader, int64_t stack) {
        for (int64_t count = reader.next(); count > 0; count--) {
            std::vector<Linear> nets;
            for (int64_t net = 0; net < stack; net++) nets.emplace_back(reader);
            layers.push_back({nets, Activation(reader)});
            outputs.emplace_back(BLOCK * layers.back().width());
        }
    }
    // Net s reads x + s * step; both change to the last layer's.
    void operator()(const float*& x, int64_t& ld, int64_t& step, int64_t rows) {
        for (size_t place = 0; place < layers.size(); place++) {
            const Layer& layer = layers[place];
            float* out = outputs[place].data();
            const int64_t width = layer.width(), each = layer.nets[0].outputs;
            for (size_t net = 0; net < layer.nets.size(); net++)
                layer.nets[net](x + net * step, ld, rows, out + net * each, width);
            for (int64_t r = 0; r < rows; r++) layer.after(out + r * width, 0, width);
            x = out, ld = width, step = each;
        }
    }
};

template <class Step> void along(int64_t width, Step step) {
    // The last vector overlaps the one before it; what is narrower than a vector goes number by number.
    if (width < WIDE) {
        for (int64_t i = 0; i < width; i++) step(float{}, i);
        return;
    }
    for (int64_t i = 0; i + WIDE <= width; i += WIDE) step(Vector{}, i);
    if (width % WIDE) step(Vector{}, width - WIDE);
}

void sum_of(const float* a, const float* b, int64_t width, float* out) {
    along(width, [=](auto kind, int64_t i) {
        using X = decltype(kind);
        store<X>(out + i, load<X>(a + i) + load<X>(b + i));
    });
}

// Softmax over each of `groups` times `size` numbers; x has room for padded(groups * size).
void softmax(float* x, int64_t groups, int64_t size) {
    for (int64_t g = 0; g < groups; g++) {
        float most = x[g * size];
        for (int64_t i = 1; i < size; i++) most = x[g * size + i] > most ? x[g * size + i] : most;
        for (int64_t i = 0; i < size; i++) x[g * size + i] -= most;
    }
    for (int64_t i = 0; i < padded(groups * size); i += WIDE) store(x + i, exponential(load<Vector>(x + i)));
    for (int64_t g = 0; g < groups; g++) {
        float sum = 0;
        for (int64_t i = 0; i < size; i++) sum += x[g * size + i];
        for (int64_t i = 0; i < size; i++) x[g * size + i] /= sum;
    }
}

float dot(const float* a, const float* b, int64_t width) {
    Vector sums{};
    for (int64_t i = 0; i < width; i += WIDE) sums += load<Vector>(a + i) * load<Vector>(b + i);
    float sum = 0;
    for (int v = 0; v < WIDE; v++) sum += sums[v];
    return sum;
}

void fetch(const float* row, int64_t width) {
    for (int64_t i = 0; i < width; i += 16) __builtin_prefetch(row + i);
}

struct Parts {
    const float *user, *table;
    const int64_t *owner, *item;
    int64_t count, user_width, item_width;
    const float* of_user(int64_t n) const { return user + owner[n] * user_width; }
    const float* of_item(int64_t n) const { return table + item[n] * item_width; }
    void fetch_after(int64_t n) const {
        if (n + 2 < count) fetch(of_item(n + 2), item_width);
    }
};

struct MMoE {
    int64_t tasks, count, width;
    Activation first;
    Layers experts;
    int64_t mixed;  // padded width of an expert's output
    Layers towers;
    int64_t last;
    const float *out, *bias;
    Buffer hidden, alpha, mix;
    explicit MMoE(Reader reader)
        : tasks(reader.next()), count(reader.next()), width(reader.next()), first(reader), experts(reader, count),
          mixed(reader.next()), towers(reader, tasks), last(reader.next()), out(reader.take(tasks * last)),
          bias(reader.take(tasks)), hidden(BLOCK * first.width + LANES), alpha(BLOCK * padded(tasks * count)),
          mix(BLOCK * tasks * mixed) {}

    void block(const Parts& parts, int64_t begin, int64_t rows, float* logits) {
        const int64_t columns = count * width, gates = padded(tasks * count);
        const int64_t full = (rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
        for (int64_t r = 0; r < rows; r++) {
            parts.fetch_after(begin + r);
            const float *user = parts.of_user(begin + r), *item = parts.of_item(begin + r);
            float *x = &hidden[r * first.width], *a = &alpha[r * gates];
            sum_of(user, item, columns, x);
            first(x, 0, first.width);
            sum_of(user + columns, item + columns, tasks * count, a);
            softmax(a, tasks, count);
        }
        const float* x = hidden.data();
        int64_t ld = first.width, step = width;
        experts(x, ld, step, full);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t t = 0; t < tasks; t++) {
                const float *a = &alpha[r * gates + t * count], *row = x + r * ld;
                float* to = &mix[(r * tasks + t) * mixed];
                for (int64_t i = 0; i < mixed; i += WIDE) {
                    Vector sum{};
                    for (int64_t e = 0; e < count; e++) sum += a[e] * load<Vector>(row + e * step + i);
                    store(to + i, sum);
                }
            }
        x = mix.data(), ld = tasks * mixed, step = mixed;
        towers(x, ld, step, full);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t t = 0; t < tasks; t++)
                logits[r * tasks + t] = dot(x + r * ld + t * step, out + t * last, last) + bias[t];
    }
};

struct MGOE {
    int64_t tasks, fusion, tower, narrow;  // narrow: O, or 0 where items carry their outputs through the fusion
    std::vector<Linear> fusions, towers;
    Activation after_fusion, after_tower;
    int64_t steps;
    std::vector<Linear> own, before;
    const float *shift, *out, *bias;
    Buffer alpha, z, o, q, mine, theirs;

    static std::vector<Linear> some(Reader& reader, int64_t count) {
        std::vector<Linear> found;
        for (int64_t i = 0; i < count; i++) found.emplace_back(reader);
        return found;
    }
    explicit MGOE(Reader reader)
        : tasks(reader.next()), fusion(reader.next()), tower(reader.next()), narrow(reader.next()),
          fusions(some(reader, narrow ? tasks : 0)), towers(some(reader, tasks)), after_fusion(reader),
          after_tower(reader), steps(reader.next()), own(some(reader, steps)), before(some(reader, steps)),
          shift(reader.take(steps)), out(reader.take(tasks * padded(tower))), bias(reader.take(tasks)),
          alpha(padded(tasks * tasks)), z(tasks * BLOCK * padded(fusion)), o(tasks * BLOCK * padded(narrow)),
          q(tasks * BLOCK * padded(tower)), mine(BLOCK * 2 * padded(tower)), theirs(BLOCK * 2 * padded(tower)) {}

    // z, q and, with narrow items, the mixed outputs of one pair, before their linear maps.
    void mix(const float* user, const float* item, int64_t r) {
        const int64_t table = tasks * tasks, base = table + tasks * tower, mixed = base + tasks * fusion;
        sum_of(user, item, table, alpha.data());
        softmax(alpha.data(), tasks, tasks);
        for (int64_t t = 0; t < tasks; t++) {
            sum_of(user + table + t * tower, item + table + t * tower, tower, &q[(t * BLOCK + r) * padded(tower)]);
            const float* a = &alpha[t * tasks];
            const float *ub = user + base + t * fusion, *ib = item + base + t * fusion;
            const float *um = user + mixed + t * tasks * fusion, *im = item + mixed + t * tasks * fusion;
            float* to = &z[(t * BLOCK + r) * padded(fusion)];
            along(fusion, [=, this](auto kind, int64_t i) {
                using X = decltype(kind);
                X sum = load<X>(ub + i) + load<X>(ib + i);
                for (int64_t s = 0; s < tasks; s++) {
                    X each = load<X>(um + s * fusion + i);
                    if (!narrow) each += load<X>(im + s * fusion + i);
                    sum += a[s] * each;
                }
                store<X>(to + i, sum);
            });
            float* outputs = o.data() + (t * BLOCK + r) * padded(narrow);
            along(narrow, [=, this](auto kind, int64_t i) {
                using X = decltype(kind);
                X sum{};
                for (int64_t s = 0; s < tasks; s++) sum += a[s] * load<X>(item + mixed + s * narrow + i);
                store<X>(outputs + i, sum);
            });
        }
    }

    void block(const Parts& parts, int64_t begin, int64_t rows, float* logits) {
        const int64_t full = (rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS;
        const int64_t ldz = padded(fusion), ldq = padded(tower), ldo = padded(narrow);
        for (int64_t r = 0; r < rows; r++) {
            parts.fetch_after(begin + r);
            mix(parts.of_user(begin + r), parts.of_item(begin + r), r);
        }
        for (int64_t t = 0; t < tasks; t++) {
            float *zt = &z[t * BLOCK * ldz], *qt = &q[t * BLOCK * ldq];
            if (narrow) fusions[t].onto(&o[t * BLOCK * ldo], ldo, full, zt, ldz);
            for (int64_t r = 0; r < rows; r++) after_fusion(zt + r * ldz, t * ldz, ldz);
            towers[t].onto(zt, ldz, full, qt, ldq);
            for (int64_t r = 0; r < rows; r++) after_tower(qt + r * ldq, t * ldq, ldq);
        }
        transfer(rows, full, logits);
    }

    // Information transfer and the logits (model.nets.folded_transfer); without it, the logits alone.
    void transfer(int64_t rows, int64_t full, float* logits) {
        const int64_t ldq = padded(tower);
        const int64_t direct = steps ? 1 : tasks;
        for (int64_t t = 0; t < direct; t++)
            for (int64_t r = 0; r < rows; r++)
                logits[r * tasks + t] = dot(&q[(t * BLOCK + r) * ldq], out + t * ldq, ldq) + bias[t];
        float* reached = q.data();
        for (int64_t step = 0; step < steps; step++) {
            float* here = &q[(step + 1) * BLOCK * ldq];
            const int64_t ld = own[step].outputs;
            const bool is_last = step == steps - 1;
            own[step](here, ldq, full, mine.data(), ld);
            before[step](reached, ldq, full, theirs.data(), ld);
            for (int64_t r = 0; r < rows; r++) {
                const float *own_row = &mine[r * ld], *their_row = &theirs[r * ld];
                const float score = dot(here + r * ldq, own_row, ldq);
                const float other = dot(reached + r * ldq, their_row, ldq) + shift[step];
                const float weight = sigmoid(Vector{} + (other - score))[0];
                const float *value = own_row + ldq, *their_value = their_row + ldq;
                float* logit = &logits[r * tasks + step + 1];
                if (is_last) {
                    *logit = weight * their_value[0] + (1 - weight) * value[0] + bias[step + 1];
                    continue;
                }
                for (int64_t i = 0; i < ldq; i += WIDE)
                    store(here + r * ldq + i,
                          weight * load<Vector>(their_value + i) + (1 - weight) * load<Vector>(value + i));
                *logit = dot(here + r * ldq, out + (step + 1) * ldq, ldq) + bias[step + 1];
            }
            reached = here;
        }
    }
};

template <class Net> void score(Net net, const Parts& parts, float* logits) {
    for (int64_t begin = 0; begin < parts.count; begin += BLOCK) {
        const int64_t rows = parts.count - begin < BLOCK ? parts.count - begin : BLOCK;
        net.block(parts, begin, rows, logits + begin * net.tasks);
    }
}

}  // namespace

extern "C" void mmoe_pairs(const int64_t* numbers, const float* weights, const Parts* parts, float* logits) {
    score(MMoE(Reader{numbers, weights}), *parts, logits);
}

extern "C" void mgoe_pairs(const int64_t* numbers, const float* weights, const Parts* parts, float* logits) {
    score(MGOE(Reader{numbers, weights}), *parts, logits);
}
