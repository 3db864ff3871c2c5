package mask

// trie is an Aho-Corasick automaton (CACM 18(6), 1975). Its patterns are long
// and few, so nodes are rarely more than chains: an edge is found by walking
// a list, and a miss follows the failure link. That makes building it a matter
// of microseconds, which matters more than the last nanosecond per byte, since
// most bytes are dismissed at the root.
type trie struct {
	root  [256]int32 // the root's edges
	nodes []node     // nodes[0] is the root
}

type node struct {
	edge  byte  // the byte that leads here
	child int32 // first child
	next  int32 // next sibling
	fail  int32 // the longest proper suffix that is a node
	depth int32 // bytes from the root
	found int32 // length of the longest pattern that ends here; 0 for none
	open  int32 // length of the longest suffix that can still become a pattern
}

// add enters a pattern. All are added before link.
func (t *trie) add(pattern []byte) {
	if len(pattern) == 0 {
		return
	}
	if t.nodes == nil {
		t.nodes = make([]node, 1, len(pattern)+1)
	}
	at := int32(0)
	for _, c := range pattern {
		to := t.edge(at, c)
		if to == 0 {
			to = int32(len(t.nodes))
			t.nodes = append(t.nodes, node{edge: c, next: t.nodes[at].child, depth: t.nodes[at].depth + 1})
			t.nodes[at].child = to
		}
		at = to
	}
	t.nodes[at].found = t.nodes[at].depth
}

func (t *trie) edge(from int32, c byte) int32 {
	to := t.nodes[from].child
	for to != 0 && t.nodes[to].edge != c {
		to = t.nodes[to].next
	}
	return to
}

// link sets the failure links, breadth first.
func (t *trie) link() {
	if t.nodes == nil {
		t.nodes = make([]node, 1)
	}
	queue := make([]int32, 0, len(t.nodes))
	for n := t.nodes[0].child; n != 0; n = t.nodes[n].next {
		t.root[t.nodes[n].edge] = n
		t.nodes[n].opened(0)
		queue = append(queue, n)
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for n := t.nodes[at].child; n != 0; n = t.nodes[n].next {
			fail := t.step(t.nodes[at].fail, t.nodes[n].edge)
			t.nodes[n].fail = fail
			if t.nodes[n].found == 0 {
				t.nodes[n].found = t.nodes[fail].found
			}
			t.nodes[n].opened(t.nodes[fail].open)
			queue = append(queue, n)
		}
	}
}

// opened sets open from that of the failure link.
func (n *node) opened(fail int32) {
	n.open = n.depth
	if n.child == 0 {
		n.open = fail
	}
}

// step is the node after c.
func (t *trie) step(at int32, c byte) int32 {
	for at != 0 {
		if to := t.edge(at, c); to != 0 {
			return to
		}
		at = t.nodes[at].fail
	}
	return t.root[c]
}
