#!/usr/bin/env node
import { comparisons } from './comparisons'
import { papers } from './papers'
import { runProcess } from './process'

await runProcess([...papers, ...comparisons])
