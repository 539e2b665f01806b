console.log('bpf-bench')
