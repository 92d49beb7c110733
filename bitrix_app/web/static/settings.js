// The settings form as the JSON that `PUT /settings` takes, and its faults back beside their fields.

export function collect(form) {
  const lines = [...form.querySelectorAll("[data-lines] tr")];
  const value = (row, name) => row.querySelector(`[name="${name}"]`).value.trim();
  const data = {
    pbx_timezone: form.elements.pbx_timezone.value.trim(),
    default_user: Number(form.elements.default_user.value) || null,
    drive_managers: [...form.elements.drive_managers.selectedOptions].map((one) => Number(one.value)),
    line_names: {},
    line_users: {},
  };
  for (const row of lines) {
    const line = value(row, "line");
    if (!line) continue;
    if (value(row, "line_name")) data.line_names[line] = value(row, "line_name");
    if (value(row, "line_user")) data.line_users[line] = Number(value(row, "line_user"));
  }
  for (const box of form.querySelectorAll('input[type="checkbox"]')) data[box.name] = box.checked;
  if (form.elements.unitalk_key.value) data.unitalk_key = form.elements.unitalk_key.value;
  return data;
}

export function showErrors(form, errors) {
  for (const place of form.querySelectorAll("[data-error]")) {
    const found = errors.find((error) => error.field === place.dataset.error);
    place.textContent = found ? found.message : "";
    place.hidden = !found;
  }
}

export function addRow(form) {
  const row = form.querySelector("[data-line-template]").content.cloneNode(true);
  form.querySelector("[data-lines]").append(row);
  form.querySelector("[data-lines] tr:last-child input").focus();
}
