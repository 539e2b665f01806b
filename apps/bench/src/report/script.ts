/** The report's script: the theme switch, sorting of tables, copying of commands. It asks for nothing over the network. */
export const script = `
(() => {
  const root = document.documentElement
  const toggle = document.querySelector('.toggle')
  const prefersDark = () => typeof matchMedia === 'function' && matchMedia('(prefers-color-scheme: dark)').matches
  const isDark = () => (root.dataset.theme ? root.dataset.theme === 'dark' : prefersDark())
  const label = () => { toggle.textContent = isDark() ? 'Light mode' : 'Dark mode' }
  let storage = null
  try { storage = window.localStorage } catch { /* a file opened with storage forbidden */ }
  const kept = storage && storage.getItem('bpf-report-theme')
  if (kept === 'light' || kept === 'dark') root.dataset.theme = kept
  toggle.hidden = false
  label()
  toggle.addEventListener('click', () => {
    root.dataset.theme = isDark() ? 'light' : 'dark'
    if (storage) storage.setItem('bpf-report-theme', root.dataset.theme)
    label()
  })

  const valueOf = (row, column) => {
    const cell = row.children[column]
    const raw = cell.dataset.sort ?? cell.textContent.trim()
    const number = Number(raw)
    return raw !== '' && !Number.isNaN(number) ? number : raw
  }
  const compare = (a, b) => {
    const isMissing = (x) => x === ''
    if (isMissing(a) || isMissing(b)) return isMissing(a) - isMissing(b)
    if (typeof a === 'number' && typeof b === 'number') return a - b
    return String(a).localeCompare(String(b), undefined, { numeric: true })
  }
  for (const table of document.querySelectorAll('table.sortable')) {
    const heads = [...table.querySelectorAll('thead th')]
    heads.forEach((head, column) => {
      const button = document.createElement('button')
      button.type = 'button'
      button.append(...head.childNodes)
      head.append(button)
      button.addEventListener('click', () => {
        const direction = head.getAttribute('aria-sort') === 'ascending' ? 'descending' : 'ascending'
        heads.forEach((other) => other.removeAttribute('aria-sort'))
        head.setAttribute('aria-sort', direction)
        const body = table.querySelector('tbody')
        const sign = direction === 'ascending' ? 1 : -1
        const rows = [...body.children].map((row) => ({ row, value: valueOf(row, column) }))
        rows.sort((a, b) => (a.value === '' || b.value === '' ? 1 : sign) * compare(a.value, b.value))
        body.append(...rows.map(({ row }) => row))
      })
    })
  }

  for (const button of document.querySelectorAll('.command button')) {
    button.hidden = !navigator.clipboard
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(button.previousElementSibling.textContent)
      button.textContent = 'Copied'
      setTimeout(() => { button.textContent = 'Copy' }, 1500)
    })
  }
})()
`
