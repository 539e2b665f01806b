#!/usr/bin/env node
import { papers } from './papers'
import { runProcess } from './process'

await runProcess(papers)
